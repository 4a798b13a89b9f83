"""`manage.py audit --record` keeps its result as a row, as the nightly audit does."""

import json
from io import StringIO

import pytest
from django.core.management import call_command

from billing.models import AuditRun
from billing.wallets import credit
from tests.billing.rows import USD, make_user

pytestmark = pytest.mark.django_db


def test_the_report_is_the_row() -> None:
    credit(make_user(), USD)
    out = StringIO()

    call_command("audit", "--record", "--json", stdout=out)

    run = AuditRun.objects.get()
    told = json.loads(out.getvalue())
    assert (told["ok"], told["balances"], run.ok, run.balances) == (True, 1, True, 1)


def test_without_it_no_row_is_written() -> None:
    call_command("audit", stdout=StringIO())

    assert not AuditRun.objects.exists()
