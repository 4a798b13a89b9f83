"""What is reserved for a request is never less than an honest answer can cost."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from billing.bounds import TOOL_CALLS, allowed_tool_calls, image_tokens, without_output, worst_amount, worst_case
from billing.pricing import MILLION, Price, charge
from tests.billing.test_price_arithmetic import prices, ratios
from wire.peek import read_head
from wire.textsize import TextSize, text_size
from wire.usage import TOOL_CALLS_LIMIT, Usage

MINI = Price(input=150_000_000, output=600_000_000)
LIMITS: Any = {"default_context": 1_000_000, "default_max_output": 16_384}


def size(**fields: Any) -> TextSize:
    return TextSize(**{"bytes": 0, "messages": 0, "images": (), "files": 0, "audio_bytes": 0, "remote": False, **fields})


@given(st.data(), prices, ratios)
def test_no_split_of_the_usage_into_buckets_costs_more(data: st.DataObject, price: Price, ratio: int) -> None:
    # Given a bound with some text, images, sound and output
    worst = Usage(
        input=data.draw(st.integers(0, 10**6)), audio_in=data.draw(st.integers(0, 10**5)), image_in=data.draw(st.integers(0, 10**5)),
        output=data.draw(st.integers(0, 10**5)), tool_calls=data.draw(st.integers(0, 3)),
    )  # fmt: skip

    # When the usage is anything within it, however the upstream splits it
    audio = data.draw(st.integers(0, worst.audio_in))
    image = data.draw(st.integers(0, worst.image_in))
    left = data.draw(st.integers(0, worst.total_input - audio - image))
    text = {}
    for bucket in ("cached", "cache_write_5m", "cache_write_1h"):
        text[bucket] = data.draw(st.integers(0, left))
        left -= text[bucket]
    out: dict[str, int] = {}
    out_left = worst.output
    for bucket in ("output", "reasoning", "audio_out", "image_out"):
        out[bucket] = data.draw(st.integers(0, out_left))
        out_left -= out[bucket]
    used = Usage(input=left, audio_in=audio, image_in=image, tool_calls=data.draw(st.integers(0, worst.tool_calls)), **text, **out)

    # Then the reserve covers it
    assert charge(price, used, ratio).amount <= worst_amount([(price, ratio)], worst)


@given(st.lists(st.tuples(prices, ratios), min_size=1, max_size=4))
def test_the_dearest_of_several_prices_counts(several: list[tuple[Price, int]]) -> None:
    worst = Usage(input=1000, output=1000)

    assert worst_amount(several, worst) == max(worst_amount([one], worst) for one in several)


def test_a_request_may_cost_exactly_its_worst_case() -> None:
    # Given one message of 12 ASCII bytes and max_tokens 15
    head = read_head(b'{"model": "m", "messages": [{"role": "user", "content": "hello, world"}], "max_tokens": 15}')

    worst = worst_case(MINI, text_size(head), 90, 15, **LIMITS)

    assert (worst.input, worst.output) == (20, 15)
    assert worst_amount([(MINI, MILLION)], worst) == charge(MINI, Usage(input=20, output=15), MILLION).amount == 12_000


def test_the_output_is_what_the_request_allows_else_the_models_limit_else_the_setting() -> None:
    limited = Price(input=1, output=1, output_limit=4096)

    assert worst_case(MINI, size(bytes=1), 9, 100, n=3, **LIMITS).output == 300
    assert worst_case(limited, size(bytes=1), 9, None, **LIMITS).output == 4096
    assert worst_case(limited, size(bytes=1), 9, 2**30, **LIMITS).output == 4096
    assert worst_case(MINI, size(bytes=1), 9, None, **LIMITS).output == 16_384
    assert worst_case(MINI, size(bytes=1), 9, 0, **LIMITS).output == 0


def test_the_context_bounds_the_input() -> None:
    price = Price(input=1, output=1, context_limit=1000)

    assert worst_case(price, size(bytes=5000, messages=2), 6000, 1, **LIMITS).total_input == 1000
    assert worst_case(MINI, size(bytes=5_000_000), 6_000_000, 1, **LIMITS).total_input == 1_000_000


def test_each_of_several_inputs_may_fill_the_context() -> None:
    price = Price(input=1, output=0, context_limit=1000)

    assert worst_case(price, size(bytes=5000, messages=3), 6000, 0, prompts=3, **LIMITS).total_input == 3000


@pytest.mark.parametrize("unseen", [{"remote": True}, {"files": 1}])
def test_what_cannot_be_seen_counts_as_the_whole_context(unseen: dict[str, Any]) -> None:
    assert worst_case(MINI, size(bytes=10, **unseen), 100, 1, **LIMITS).total_input == 1_000_000


def test_a_request_in_which_nothing_was_found_counts_with_its_whole_body() -> None:
    assert worst_case(MINI, size(), 777, 1, **LIMITS).input == 777
    # A large picture without a word is no large text.
    assert worst_case(MINI, size(messages=1, images=("auto",)), 5_000_000, 1, model="gpt-4o", **LIMITS).input == 8


def test_images_count_by_the_models_own_table() -> None:
    assert image_tokens("gpt-4o-mini-2024-07-18", "high") > image_tokens("gpt-4o", "high") > image_tokens("gpt-4o", "low")
    assert worst_case(MINI, size(bytes=1, images=("low", "auto")), 9, 1, model="gpt-4o", **LIMITS).image_in == 85 + 1445
    assert image_tokens("never heard of", "auto") >= 16_000


def test_what_is_due_without_an_answer_leaves_the_output_out() -> None:
    assert without_output(Usage(input=5, output=9, tool_calls=2)) == Usage(input=5)


@pytest.mark.parametrize(
    ("body", "calls"),
    [
        (b"{}", 0),
        (b'{"tools":[{"type":"function","function":{"name":"f"}},{"name":"old style"},{"type":"custom"}]}', 0),
        (b'{"web_search_options":{}}', TOOL_CALLS),
        (b'{"tools":[{"type":"web_search_20250305","name":"web_search","max_uses":3},{"type":"web_search"}]}', 3 + TOOL_CALLS),
        (b'{"tools":[{"type":"web_search","max_uses":-5}]}', 0),
        (b'{"tools":[{"type":"web_search","max_uses":123456789}]}', TOOL_CALLS_LIMIT),
        (b'{"tools":{"google_search":{}}}', TOOL_CALLS_LIMIT),
        (b'{"tools":[{"type":5}]}', TOOL_CALLS_LIMIT),
    ],
)
def test_the_upstreams_own_tools_are_counted(body: bytes, calls: int) -> None:
    assert allowed_tool_calls(read_head(body)) == calls
