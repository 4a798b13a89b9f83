"""Usage of every format becomes disjoint buckets, or nothing: no upstream can report a number that moves a balance the wrong way."""

import json
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from wire.usage import TOOL_CALLS_LIMIT, UNKNOWN_LIMIT, Usage, normalise


def read(usage: Any, context: int = 128_000, output_limit: int = 16_384) -> Usage | None:
    return normalise(msgspec.json.encode(usage), context=context, output_limit=output_limit)


def usage(prompt: Any = 100, completion: Any = 50, **more: Any) -> dict[str, Any]:
    return {"prompt_tokens": prompt, "completion_tokens": completion, **more}


def test_plain_counts() -> None:
    assert read(usage(20, 15, total_tokens=35)) == Usage(input=20, output=15)


def test_details_are_taken_out_of_their_wholes() -> None:
    said = usage(
        100,
        50,
        prompt_tokens_details={"cached_tokens": 30, "audio_tokens": 20},
        completion_tokens_details={"reasoning_tokens": 10, "audio_tokens": 5, "accepted_prediction_tokens": 3},
    )

    buckets = read(said)

    assert buckets == Usage(input=50, cached=30, audio_in=20, output=35, reasoning=10, audio_out=5)
    assert (buckets.total_input, buckets.total_output) == (100, 50)


def test_cached_audio_is_counted_once() -> None:
    assert read(usage(100, 1, prompt_tokens_details={"cached_tokens": 90, "audio_tokens": 40})) == Usage(cached=90, audio_in=10, output=1)


def test_deepseek_names_cached_input_beside_it() -> None:
    assert read(usage(100, 1, prompt_cache_hit_tokens=64, prompt_cache_miss_tokens=36)) == Usage(input=36, cached=64, output=1)


def test_xai_counts_reasoning_beside_the_completion() -> None:
    said = usage(32, 9, total_tokens=135, completion_tokens_details={"reasoning_tokens": 94})

    assert read(said) == Usage(input=32, output=9, reasoning=94)


def test_an_embedding_has_no_completion() -> None:
    assert read({"prompt_tokens": 8, "total_tokens": 8}) == Usage(input=8)


@pytest.mark.parametrize("details", [None, {}, {"cached_tokens": None, "audio_tokens": None}])
def test_null_details_are_no_details(details: Any) -> None:
    assert read(usage(8, 2, prompt_tokens_details=details, completion_tokens_details=None)) == Usage(input=8, output=2)


def test_raw_bytes_and_dicts_are_read_alike() -> None:
    said = usage(20, 15)

    answers = [normalise(form, context=0, output_limit=0) for form in (said, msgspec.json.encode(said), msgspec.Raw(msgspec.json.encode(said)))]

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
    assert normalise(json.dumps(said).encode(), context=128_000, output_limit=16_384) is None


@pytest.mark.parametrize("raw", [b"", b"{", b"nonsense", b'{"prompt_tokens":1e400}', b'{"prompt_tokens":"\xff"}', b'{"a":' * 5000])
def test_bytes_that_are_no_json_are_none(raw: bytes) -> None:
    assert normalise(raw, context=0, output_limit=0) is None


def test_usage_above_the_model_limits_is_none() -> None:
    assert read(usage(1000, 10), context=1000, output_limit=10) is not None
    assert read(usage(1001, 10), context=1000, output_limit=10) is None
    assert read(usage(1000, 11), context=1000, output_limit=10) is None


def test_unknown_limits_have_a_cap() -> None:
    assert read(usage(UNKNOWN_LIMIT, UNKNOWN_LIMIT), context=0, output_limit=0) is not None
    assert read(usage(UNKNOWN_LIMIT + 1, 1), context=0, output_limit=0) is None
    assert read(usage(1, UNKNOWN_LIMIT + 1), context=0, output_limit=0) is None


ANTHROPIC = {"input_tokens": 40, "cache_read_input_tokens": 300, "cache_creation_input_tokens": 60, "output_tokens": 9}
SPLIT = {"ephemeral_5m_input_tokens": 20, "ephemeral_1h_input_tokens": 40}
GEMINI = {"promptTokenCount": 100, "candidatesTokenCount": 30, "totalTokenCount": 130}


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        # cache writes inside the input, by OpenRouter and by LiteLLM
        (usage(194, 2, prompt_tokens_details={"cached_tokens": 0, "cache_write_tokens": 100}), Usage(input=94, cache_write_5m=100, output=2)),
        (
            usage(100, 2, prompt_tokens_details={"cached_tokens": 30, "cache_creation_tokens": 60, "cache_creation_token_details": SPLIT}),
            Usage(input=10, cached=30, cache_write_5m=20, cache_write_1h=40, output=2),
        ),
        (usage(100, 2, cache_read_input_tokens=30, cache_creation_input_tokens=60), Usage(input=10, cached=30, cache_write_5m=60, output=2)),
        (usage(50, 20, completion_tokens_details={"image_tokens": 15}), Usage(input=50, output=5, image_out=15)),
        # OpenAI's Responses and images
        (
            {
                "input_tokens": 75,
                "input_tokens_details": {"cached_tokens": 25},
                "output_tokens": 90,
                "output_tokens_details": {"reasoning_tokens": 80},
            },
            Usage(input=50, cached=25, output=10, reasoning=80),
        ),
        (
            {"input_tokens": 50, "input_tokens_details": {"image_tokens": 40, "text_tokens": 10}, "output_tokens": 50, "total_tokens": 100},
            Usage(input=10, image_in=40, output=50),
        ),
        # a gateway that fills in what it does not mean with zeros
        ({**usage(20, 15), "input_tokens": 0, "output_tokens": 0, "input_tokens_details": None}, Usage(input=20, output=15)),
        # Anthropic: beside the input; a total without a split is for five minutes
        (ANTHROPIC, Usage(input=40, cached=300, cache_write_5m=60, output=9)),
        ({**ANTHROPIC, "cache_creation": SPLIT}, Usage(input=40, cached=300, cache_write_5m=20, cache_write_1h=40, output=9)),
        (
            {**ANTHROPIC, "cache_creation_input_tokens": None, "cache_creation": SPLIT},
            Usage(input=40, cached=300, cache_write_5m=20, cache_write_1h=40, output=9),
        ),
        (
            {**ANTHROPIC, "cache_creation": {"ephemeral_1h_input_tokens": 10}},
            Usage(input=40, cached=300, cache_write_5m=50, cache_write_1h=10, output=9),
        ),
        ({**ANTHROPIC, "input_tokens": 0}, Usage(cached=300, cache_write_5m=60, output=9)),
        ({"input_tokens": 12, "output_tokens": 6}, Usage(input=12, output=6)),
        (
            {**ANTHROPIC, "server_tool_use": {"web_search_requests": 2, "web_fetch_requests": 5}},
            Usage(input=40, cached=300, cache_write_5m=60, output=9, tool_calls=2),
        ),
        # Gemini: cached inside the prompt, its own tools and its thoughts beside
        (GEMINI, Usage(input=100, output=30)),
        (
            {**GEMINI, "cachedContentTokenCount": 80, "thoughtsTokenCount": 50, "totalTokenCount": 180},
            Usage(input=20, cached=80, output=30, reasoning=50),
        ),
        ({**GEMINI, "toolUsePromptTokenCount": 7, "totalTokenCount": 137}, Usage(input=107, output=30)),
        ({**GEMINI, "thoughtsTokenCount": 20}, Usage(input=100, output=10, reasoning=20)),  # its total says that they are inside
        ({"promptTokenCount": 8, "totalTokenCount": 8}, Usage(input=8)),
        ({"promptTokenCount": 8, "thoughtsTokenCount": 5, "totalTokenCount": 13}, Usage(input=8, reasoning=5)),
        (
            {
                **GEMINI,
                "promptTokensDetails": [
                    {"modality": "TEXT", "tokenCount": 10},
                    {"modality": "AUDIO", "tokenCount": 60},
                    {"modality": "IMAGE", "tokenCount": 30},
                ],
                "candidatesTokensDetails": [{"modality": "IMAGE", "tokenCount": 25}, {"modality": "SMELL", "tokenCount": 1}],
            },
            Usage(input=10, audio_in=60, image_in=30, output=5, image_out=25),
        ),
    ],
)
def test_each_format_says_where_its_parts_lie(said: Any, expected: Usage) -> None:
    assert read(said) == expected


@pytest.mark.parametrize(
    "said",
    [
        usage(100, 5, prompt_tokens_details={"cached_tokens": 50, "cache_write_tokens": 51}),
        usage(100, 5, prompt_tokens_details={"image_tokens": 101}),
        usage(100, 5, completion_tokens_details={"image_tokens": 6}),
        usage(100, 5, prompt_tokens_details={"cache_write_tokens": 10, "cache_creation_token_details": {"ephemeral_1h_input_tokens": 11}}),
        usage(100, 5, server_tool_use={"web_search_requests": TOOL_CALLS_LIMIT + 1}),
        {"input_tokens": 0, "cache_read_input_tokens": 0, "output_tokens": 5},
        {"input_tokens": 5, "cache_read_input_tokens": 0},
        {**ANTHROPIC, "cache_creation": {"ephemeral_5m_input_tokens": 61}},
        {**ANTHROPIC, "cache_read_input_tokens": -1},
        {**ANTHROPIC, "output_tokens": 2.5},
        {"input_tokens": 5, "total_tokens": 9},
        {**GEMINI, "cachedContentTokenCount": 101},
        {**GEMINI, "candidatesTokenCount": None},
        {**GEMINI, "thoughtsTokenCount": "5"},
        {**GEMINI, "promptTokensDetails": [{"modality": "AUDIO", "tokenCount": 101}]},
        {**GEMINI, "candidatesTokensDetails": [{"modality": "IMAGE", "tokenCount": 16}, {"modality": "AUDIO", "tokenCount": 15}]},
        {**GEMINI, "promptTokensDetails": {"AUDIO": 1}},
    ],
)
def test_what_contradicts_itself_is_none(said: Any) -> None:
    assert read(said) is None


hostile = st.one_of(st.integers(-(2**63), 2**64), st.integers(0, 100), st.none(), st.floats(), st.booleans(), st.sampled_from(["", "5", "x"]))
likely = st.one_of(st.integers(0, 300), st.integers(0, 300), hostile)


def objects(*names: str) -> st.SearchStrategy[Any]:
    return st.dictionaries(st.sampled_from(names), likely)


writes = st.one_of(st.none(), objects("ephemeral_5m_input_tokens", "ephemeral_1h_input_tokens"))
parts = st.one_of(
    st.none(),
    objects("cached_tokens", "audio_tokens", "image_tokens", "reasoning_tokens", "cache_write_tokens", "cache_creation_tokens", "x"),
    st.fixed_dictionaries({"cache_creation_token_details": writes, "cached_tokens": likely}),
)
modalities = st.one_of(
    st.none(), st.lists(st.fixed_dictionaries({"modality": st.sampled_from(["TEXT", "AUDIO", "IMAGE", 5]), "tokenCount": likely}), max_size=3)
)
COUNTS = (
    "prompt_tokens", "completion_tokens", "total_tokens", "prompt_cache_hit_tokens", "input_tokens", "output_tokens", "cache_read_input_tokens",
    "cache_creation_input_tokens", "promptTokenCount", "toolUsePromptTokenCount", "cachedContentTokenCount", "candidatesTokenCount",
    "thoughtsTokenCount", "totalTokenCount",
)  # fmt: skip
hostile_usage = st.fixed_dictionaries(
    {},
    optional={
        **dict.fromkeys(COUNTS, likely),
        **dict.fromkeys(("prompt_tokens_details", "completion_tokens_details", "input_tokens_details", "output_tokens_details"), parts),
        **dict.fromkeys(("promptTokensDetails", "candidatesTokensDetails"), modalities),
        "cache_creation": writes,
        "server_tool_use": st.one_of(st.none(), objects("web_search_requests")),
    },
)


@given(said=hostile_usage, context=st.integers(0, 2**31), output_limit=st.integers(0, 2**31))
def test_hostile_usage_never_gives_a_negative_or_unbounded_bucket(said: dict[str, Any], context: int, output_limit: int) -> None:
    found = [normalise(form, context=context, output_limit=output_limit) for form in (said, msgspec.json.encode(said))]

    assert found[0] == found[1]
    if found[0] is not None:
        buckets = msgspec.structs.asdict(found[0])
        assert all(type(count) is int and count >= 0 for count in buckets.values())
        assert 0 < found[0].total_input <= (context or UNKNOWN_LIMIT)
        assert found[0].total_output <= (output_limit or UNKNOWN_LIMIT)
        assert found[0].tool_calls <= TOOL_CALLS_LIMIT


small = st.integers(0, 1000)


@given(prompt=st.integers(1, 1000), completion=small, cached=small, audio_in=small, reasoning=small, audio_out=small)
def test_buckets_add_up_to_what_the_upstream_said(prompt: int, completion: int, cached: int, audio_in: int, reasoning: int, audio_out: int) -> None:
    said = usage(
        prompt,
        completion,
        prompt_tokens_details={"cached_tokens": cached, "audio_tokens": audio_in},
        completion_tokens_details={"reasoning_tokens": reasoning, "audio_tokens": audio_out},
    )

    found = read(said)

    possible = cached <= prompt and audio_in <= prompt and reasoning + audio_out <= completion
    assert (found is not None) == possible
    if found is not None:
        assert (found.total_input, found.total_output) == (prompt, completion)
        assert (found.cached, found.reasoning, found.audio_out) == (cached, reasoning, audio_out)


@given(fresh=small, read_=small, written=st.one_of(st.none(), small), short=small, long=small, out=small)
def test_anthropics_buckets_add_up(fresh: int, read_: int, written: int | None, short: int, long: int, out: int) -> None:
    creation = {"ephemeral_5m_input_tokens": short, "ephemeral_1h_input_tokens": long}
    said = {
        "input_tokens": fresh,
        "cache_read_input_tokens": read_,
        "cache_creation_input_tokens": written,
        "cache_creation": creation,
        "output_tokens": out,
    }

    found = read(said)

    total = short + long if written is None else written
    assert (found is not None) == (short + long <= total and fresh + read_ + total > 0)
    if found is not None:
        assert (found.input, found.cached, found.cache_write_5m + found.cache_write_1h, found.cache_write_1h) == (fresh, read_, total, long)
        assert found.output == out


@given(prompt=st.integers(1, 1000), tools=small, cached=small, candidates=small, thoughts=small, audio=small)
def test_geminis_buckets_add_up(prompt: int, tools: int, cached: int, candidates: int, thoughts: int, audio: int) -> None:
    said = {
        "promptTokenCount": prompt,
        "toolUsePromptTokenCount": tools,
        "cachedContentTokenCount": cached,
        "candidatesTokenCount": candidates,
        "thoughtsTokenCount": thoughts,
        "totalTokenCount": prompt + tools + candidates + thoughts,
        "promptTokensDetails": [{"modality": "AUDIO", "tokenCount": audio}],
    }

    found = read(said)

    assert (found is not None) == (cached <= prompt and audio <= prompt)
    if found is not None:
        assert (found.total_input, found.total_output) == (prompt + tools, candidates + thoughts)
        assert (found.cached, found.reasoning) == (cached, thoughts)
