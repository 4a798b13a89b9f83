"""OpenAI's usage becomes disjoint buckets, or nothing: no upstream can report a number that moves a balance the wrong way."""

import json
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from wire.usage import UNKNOWN_LIMIT, Usage, normalise_openai


def normalise(usage: Any, context: int = 128_000, output_limit: int = 16_384) -> Usage | None:
    return normalise_openai(msgspec.json.encode(usage), context=context, output_limit=output_limit)


def usage(prompt: Any = 100, completion: Any = 50, **more: Any) -> dict[str, Any]:
    return {"prompt_tokens": prompt, "completion_tokens": completion, **more}


def test_plain_counts() -> None:
    assert normalise(usage(20, 15, total_tokens=35)) == Usage(input=20, output=15)


def test_details_are_taken_out_of_their_wholes() -> None:
    said = usage(
        100,
        50,
        prompt_tokens_details={"cached_tokens": 30, "audio_tokens": 20},
        completion_tokens_details={"reasoning_tokens": 10, "audio_tokens": 5, "accepted_prediction_tokens": 3},
    )

    buckets = normalise(said)

    assert buckets == Usage(input=50, cached=30, audio_in=20, output=35, reasoning=10, audio_out=5)
    assert (buckets.total_input, buckets.total_output) == (100, 50)


def test_cached_audio_is_counted_once() -> None:
    assert normalise(usage(100, 1, prompt_tokens_details={"cached_tokens": 90, "audio_tokens": 40})) == Usage(cached=90, audio_in=10, output=1)


def test_deepseek_names_cached_input_beside_it() -> None:
    assert normalise(usage(100, 1, prompt_cache_hit_tokens=64, prompt_cache_miss_tokens=36)) == Usage(input=36, cached=64, output=1)


def test_xai_counts_reasoning_beside_the_completion() -> None:
    said = usage(32, 9, total_tokens=135, completion_tokens_details={"reasoning_tokens": 94})

    assert normalise(said) == Usage(input=32, output=9, reasoning=94)


def test_an_embedding_has_no_completion() -> None:
    assert normalise({"prompt_tokens": 8, "total_tokens": 8}) == Usage(input=8)


@pytest.mark.parametrize("details", [None, {}, {"cached_tokens": None, "audio_tokens": None}])
def test_null_details_are_no_details(details: Any) -> None:
    assert normalise(usage(8, 2, prompt_tokens_details=details, completion_tokens_details=None)) == Usage(input=8, output=2)


def test_raw_bytes_and_dicts_are_read_alike() -> None:
    said = usage(20, 15)

    answers = [
        normalise_openai(form, context=0, output_limit=0) for form in (said, msgspec.json.encode(said), msgspec.Raw(msgspec.json.encode(said)))
    ]

    assert answers == [Usage(input=20, output=15)] * 3


@pytest.mark.parametrize(
    "said",
    [
        None,
        {},
        [],
        "20",
        usage(0, 0, total_tokens=0),
        {"completion_tokens": 5},
        {"prompt_tokens": 5, "total_tokens": 9},
        usage(-1, 5),
        usage(5, -1),
        usage(5.5, 1),
        usage(1.0, 1),
        usage("5", 1),
        usage(True, 1),
        usage([5], 1),
        usage(2**53 + 1, 1),
        usage(10**400, 1),
        usage(5, 5, prompt_tokens_details={"cached_tokens": 6}),
        usage(5, 5, prompt_tokens_details={"cached_tokens": -6}),
        usage(5, 5, prompt_tokens_details={"audio_tokens": 6}),
        usage(5, 5, completion_tokens_details={"reasoning_tokens": 6}),
        usage(5, 5, completion_tokens_details={"reasoning_tokens": 3, "audio_tokens": 3}),
        usage(5, 5, completion_tokens_details={"reasoning_tokens": -3}),
        usage(5, 5, prompt_tokens_details="none"),
    ],
)
def test_absent_or_impossible_usage_is_none(said: Any) -> None:
    assert normalise_openai(json.dumps(said).encode(), context=128_000, output_limit=16_384) is None


@pytest.mark.parametrize("raw", [b"", b"{", b"nonsense", b'{"prompt_tokens":1e400}', b'{"prompt_tokens":"\xff"}', b'{"a":' * 5000])
def test_bytes_that_are_no_json_are_none(raw: bytes) -> None:
    assert normalise_openai(raw, context=0, output_limit=0) is None


def test_usage_above_the_model_limits_is_none() -> None:
    assert normalise(usage(1000, 10), context=1000, output_limit=10) is not None
    assert normalise(usage(1001, 10), context=1000, output_limit=10) is None
    assert normalise(usage(1000, 11), context=1000, output_limit=10) is None


def test_unknown_limits_have_a_cap() -> None:
    assert normalise(usage(UNKNOWN_LIMIT, UNKNOWN_LIMIT), context=0, output_limit=0) is not None
    assert normalise(usage(UNKNOWN_LIMIT + 1, 1), context=0, output_limit=0) is None
    assert normalise(usage(1, UNKNOWN_LIMIT + 1), context=0, output_limit=0) is None


hostile = st.one_of(st.integers(-(2**63), 2**64), st.integers(0, 100), st.none(), st.floats(), st.booleans(), st.sampled_from(["", "5", "x"]))
parts = st.one_of(st.none(), st.dictionaries(st.sampled_from(["cached_tokens", "audio_tokens", "reasoning_tokens", "x"]), hostile))
hostile_usage = st.fixed_dictionaries(
    {},
    optional={
        "prompt_tokens": hostile,
        "completion_tokens": hostile,
        "total_tokens": hostile,
        "prompt_cache_hit_tokens": hostile,
        "prompt_tokens_details": parts,
        "completion_tokens_details": parts,
    },
)


@given(said=hostile_usage, context=st.integers(0, 2**31), output_limit=st.integers(0, 2**31))
def test_hostile_usage_never_gives_a_negative_or_unbounded_bucket(said: dict[str, Any], context: int, output_limit: int) -> None:
    found = [normalise_openai(form, context=context, output_limit=output_limit) for form in (said, msgspec.json.encode(said))]

    assert found[0] == found[1]
    if found[0] is not None:
        buckets = msgspec.structs.asdict(found[0])
        assert all(type(count) is int and count >= 0 for count in buckets.values())
        assert 0 < found[0].total_input <= (context or UNKNOWN_LIMIT)
        assert found[0].total_output <= (output_limit or UNKNOWN_LIMIT)


small = st.integers(0, 1000)


@given(prompt=st.integers(1, 1000), completion=small, cached=small, audio_in=small, reasoning=small, audio_out=small)
def test_buckets_add_up_to_what_the_upstream_said(prompt: int, completion: int, cached: int, audio_in: int, reasoning: int, audio_out: int) -> None:
    said = usage(
        prompt,
        completion,
        prompt_tokens_details={"cached_tokens": cached, "audio_tokens": audio_in},
        completion_tokens_details={"reasoning_tokens": reasoning, "audio_tokens": audio_out},
    )

    found = normalise(said)

    possible = cached <= prompt and audio_in <= prompt and reasoning + audio_out <= completion
    assert (found is not None) == possible
    if found is not None:
        assert (found.total_input, found.total_output) == (prompt, completion)
        assert (found.cached, found.reasoning, found.audio_out) == (cached, reasoning, audio_out)
