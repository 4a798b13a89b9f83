"""The page of a charge names the price rule that it was made by."""

import pytest

from billing.charge_text import spell_out
from billing.models import UsageRecord


@pytest.mark.parametrize(("source", "rule"), [("rule 12", "12"), ("operator", ""), ("genai-prices", ""), (None, ""), (7, "")])
def test_the_rule_is_named_where_there_was_one(source: object, rule: str) -> None:
    assert spell_out(UsageRecord(detail={"price_source": source, "lines": []})).rule == rule
