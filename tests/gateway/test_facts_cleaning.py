"""docs/ledger.md §1: a charge cannot fail on text. Whatever an upstream, a client or an operator wrote fits its column and both databases."""

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from billing.price_rules import Terms
from gateway.facts import ERROR_LENGTH, ID_LENGTH, MODEL_LENGTH, Outcome, Served, Timing, Tried, clean, facts_of
from gateway.keys import authenticate
from tests.gateway.known import KEY, NOW, PRICE, snapshot
from wire.usage import Usage

ANY_TEXT = st.text(st.characters(), max_size=60) | st.sampled_from(["\x00", "\ud800", "a\x00b\ud83d", "\u2028", "é" * 400, "𝕏" * 400, ""])
TIMING = Timing(12, 3)


def booked(model="m", served="m", usage=None, tried=(), address="192.0.2.1", **outcome):
    caller = authenticate(KEY.encode(), address, snapshot(), NOW)
    there = Served(1, 2, served, Terms(PRICE, caller.group.ratio_ppm, PRICE))
    end = Outcome(**{"ended": "done", "status": 200, "usage": usage, **outcome})
    return facts_of(caller, "chat/completions", model, False, there, end, TIMING, list(tried))


def storable(text: str) -> bool:
    """Whether both databases take it, as text and inside jsonb."""
    text.encode()  # no lone surrogates
    return "\x00" not in text and "\\u0000" not in text


@pytest.mark.parametrize(
    ("dirty", "plain"), [("a\x00b", "ab"), ("\ud800", ""), ("a\r\nb\tc", "abc"), ("\x7f\x9f\u2028\u2029", ""), ("模型 é 𝕏", "模型 é 𝕏")]
)
def test_what_no_column_takes_is_left_out(dirty, plain):
    assert clean(dirty, 100) == plain


def test_texts_are_cut_to_their_columns():
    facts = booked(model="m" * 999, served="s" * 999, upstream_request_id="i" * 999, error="e" * 9999, address="1" * 99)
    assert (len(facts.model), len(facts.model_served), len(facts.upstream_request_id)) == (MODEL_LENGTH, MODEL_LENGTH, ID_LENGTH)
    assert len(json.loads(facts.detail)["error"]) == ERROR_LENGTH
    assert len(facts.client_ip) <= 45


@settings(deadline=None)
@given(ANY_TEXT, ANY_TEXT, ANY_TEXT, ANY_TEXT)
def test_any_text_can_be_stored(model, request_id, error, reason):
    facts = booked(
        model=model, served=model, upstream_request_id=request_id, error=error, tried=[Tried(1, "key\x00"[:4], 500, 3, reason)], usage=Usage(input=1)
    )
    assert all(storable(text) for text in (facts.model, facts.model_served, facts.upstream_request_id, facts.client_ip, facts.detail))
    json.loads(facts.detail)


def test_nothing_used_costs_nothing():
    facts = booked(usage=None, ended="failed", status=502)
    assert (facts.amount, facts.upstream_cost, facts.input_tokens, facts.output_tokens) == (0, 0, 0, 0)
    assert "lines" not in json.loads(facts.detail)


def test_the_charge_is_spelled_out():
    facts = booked(usage=Usage(input=1000, output=10), tried=[Tried(7, "abcd", 500, 3, "elsewhere: busy")])
    detail = json.loads(facts.detail)
    assert facts.amount == 1000 * 150 + 10 * 600
    assert detail["usage"] == {"input": 1000, "output": 10}
    assert [line["bucket"] for line in detail["lines"]] == ["input", "output"]
    assert detail["attempts"] == [{"channel": 7, "key": "abcd", "status": 500, "ms": 3, "error": "elsewhere: busy"}]
    assert detail["ratio_ppm"] == 1_000_000


def test_an_amount_above_the_bound_is_flagged():
    facts = booked(usage=Usage(output=2**53), flags=("bad_usage",))
    assert facts.amount == 10**15
    assert json.loads(facts.detail)["flags"] == ["bad_usage", "capped"]
