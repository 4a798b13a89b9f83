"""A nightly audit is a row; what it finds raises one alarm a day, by e-mail and by webhook."""

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any

import pytest
from django.conf import LazySettings
from django.core import mail
from django.db.models import F

from billing.audit_run import QUIET
from billing.models import AuditRun, Balance
from billing.tasks import nightly_audit
from billing.wallets import credit, wallet_of
from tests.billing.rows import USD, charge, make_user

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def operators(settings: LazySettings) -> None:
    settings.ALERT_EMAILS = ["ops@example.com"]


def last() -> AuditRun:
    return AuditRun.objects.latest("pk")


def test_where_everything_adds_up_there_is_a_row_and_no_alarm() -> None:
    user = make_user()
    credit(user, 5 * USD)
    charge([wallet_of(user.pk)], USD, user_id=user.pk)

    nightly_audit()

    run = last()
    assert (run.ok, run.charges, run.charged, run.found, run.differences, run.alarmed_at) == (True, 1, USD, 0, [], None)
    assert run.started_at is not None
    assert run.finished_at is not None
    assert mail.outbox == []


def test_a_difference_raises_one_alarm_a_day() -> None:
    user = make_user()
    credit(user, 5 * USD)
    Balance.objects.update(available=F("available") + 7)

    nightly_audit()
    nightly_audit()

    assert (last().ok, last().found, last().alarmed_at) == (False, 1, None)
    (message,) = mail.outbox
    assert message.to == ["ops@example.com"]
    assert f"wallet {user.pk}" in message.body
    AuditRun.objects.update(alarmed_at=F("alarmed_at") - QUIET)
    nightly_audit()
    assert len(mail.outbox) == 2


def test_another_difference_raises_another_alarm() -> None:
    credit(make_user(), 5 * USD)
    for _time in range(2):
        Balance.objects.update(available=F("available") + 7)
        nightly_audit()

    assert len(mail.outbox) == 2


@pytest.mark.parametrize(("lacking", "alarms_raised"), [(USD, 0), (USD + 1, 1)])
def test_balances_below_zero_raise_an_alarm_over_a_threshold(settings: LazySettings, lacking: int, alarms_raised: int) -> None:
    settings.ALERT_BELOW_ZERO = "1"
    user = make_user()
    charge([wallet_of(user.pk)], lacking, user_id=user.pk)

    nightly_audit()

    assert (last().ok, last().below_zero, last().below_zero_sum) == (True, 1, lacking)
    assert len(mail.outbox) == alarms_raised


class Hook(BaseHTTPRequestHandler):
    """Keeps what is posted to it in `server.posted`."""

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.server.posted.append(json.loads(body))  # type: ignore[attr-defined]  # the test's own server
        self.send_response(204)
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None: ...


@pytest.fixture
def hook(settings: LazySettings) -> Iterator[list[dict[str, Any]]]:
    """What the webhook of this installation was sent."""
    server = HTTPServer(("127.0.0.1", 0), Hook)
    server.posted = []  # type: ignore[attr-defined]
    settings.ALERT_WEBHOOK = f"http://127.0.0.1:{server.server_port}/alarm"
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield server.posted  # type: ignore[attr-defined]
    server.shutdown()
    thread.join()
    server.server_close()


def test_the_webhook_is_told_where_its_network_is_allowed(settings: LazySettings, hook: list[dict[str, Any]]) -> None:
    settings.ALLOWED_PRIVATE_NETWORKS = ["127.0.0.0/8"]
    credit(make_user(), 5 * USD)
    Balance.objects.update(available=F("available") + 7)

    nightly_audit()

    (told,) = hook
    assert (told["details"]["found"], told["details"]["audit"]) == (1, last().pk)
    assert told["details"]["differences"][0]["check"] == "equation"


def test_a_webhook_at_a_private_address_is_not_called_and_stops_nothing(hook: list[dict[str, Any]]) -> None:
    credit(make_user(), 5 * USD)
    Balance.objects.update(available=F("available") + 7)

    nightly_audit()

    assert last().alarmed_at is not None
    assert len(mail.outbox) == 1
    assert hook == []
