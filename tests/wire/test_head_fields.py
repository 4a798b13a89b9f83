"""What the relay reads of a request, and what it refuses."""

import json
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wire.errors import BadRequest, InvalidJSON
from wire.peek import read_head


def body(**fields: Any) -> bytes:
    return json.dumps(fields).encode()


def test_the_decided_fields_are_read() -> None:
    head = read_head(
        body(model="gpt-4o-mini", stream=True, max_tokens=5, max_completion_tokens=6, n=2, best_of=3, stream_options={"include_usage": True, "x": 1})
    )

    assert (head.model, head.stream, head.max_tokens, head.max_completion_tokens, head.n, head.best_of) == ("gpt-4o-mini", True, 5, 6, 2, 3)
    assert head.stream_options is not None
    assert head.stream_options.include_usage is True


def test_what_is_missing_or_null_is_none_or_empty() -> None:
    for head in (read_head(b"{}"), read_head(b'{"model":null,"n":null,"stream":null,"stream_options":null,"messages":null,"tools": null}')):
        assert (head.model, head.n, head.stream, head.stream_options, head.max_tokens) == (None, None, None, None, None)
        assert bytes(head.messages) == bytes(head.tools) == b""


def test_raw_values_are_the_bytes_of_the_body() -> None:
    head = read_head(b'{"messages": [ {"role":"user", "content":"\\u4f60"} ] , "prompt":"x"}')

    assert bytes(head.messages) == b'[ {"role":"user", "content":"\\u4f60"} ]'
    assert bytes(head.prompt) == b'"x"'
    assert [name for name, _ in head.fields] == ["messages", "prompt"]


@pytest.mark.parametrize(
    "broken",
    [
        b"",
        b"{",
        b"nonsense",
        b'{"model":"a"}}',
        b'{"model":"a",}',
        b"{'model':'a'}",
        b'\xef\xbb\xbf{"model":"a"}',
        b'{"temperature":NaN}',
        b'{"user":"\xff"}',
        b'{"messages":[{"content":"\xed\xa0\x80"}]}',
        b'{"\xff":1}',
        b'{"user":"\x01"}',
        b'{"user":"\\ud800"}',
        b'{"user":01}',
        b'{"x":' + b"[" * 100_000 + b"]" * 100_000 + b"}",
        b'{"messages":' + b'{"a":' * 50_000 + b"1" + b"}" * 50_000 + b"}",
    ],
)
def test_what_is_not_json_is_refused(broken: bytes) -> None:
    with pytest.raises(InvalidJSON):
        read_head(broken)


@pytest.mark.parametrize("other", [b"[]", b'"text"', b"1", b"null", b"true"])
def test_json_that_is_no_object_is_refused(other: bytes) -> None:
    with pytest.raises(BadRequest, match="not an object"):
        read_head(other)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("model", 1),
        ("model", ["a"]),
        ("stream", "true"),
        ("stream", 1),
        ("max_tokens", -1),
        ("max_tokens", 2**30 + 1),
        ("max_tokens", 10**300),
        ("max_tokens", 1.5),
        ("max_tokens", "100"),
        ("max_tokens", True),
        ("max_completion_tokens", -5),
        ("n", 0),
        ("n", 129),
        ("n", -1),
        ("best_of", 0),
        ("stream_options", True),
        ("stream_options", {"include_usage": "yes"}),
        ("previous_response_id", 5),
        ("seed", 10**450),
        ("temperature", -(10**450)),
    ],
)
def test_values_of_the_wrong_type_or_range_are_refused(name: str, value: Any) -> None:
    with pytest.raises(BadRequest) as refusal:
        read_head(body(**{name: value}))

    assert refusal.value.param == name
    assert name in refusal.value.message


def test_the_bounds_themselves_are_accepted() -> None:
    head = read_head(body(max_tokens=2**30, max_completion_tokens=0, n=128, best_of=1))

    assert (head.max_tokens, head.max_completion_tokens, head.n, head.best_of) == (2**30, 0, 128, 1)


def test_fifty_megabytes_of_image_are_read() -> None:
    head = read_head(
        body(model="m", messages=[{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "data:" + "A" * 50_000_000}}]}])
    )

    assert head.model == "m"
    assert len(bytes(head.messages)) > 50_000_000


json_values: st.SearchStrategy[Any] = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.sampled_from(["", "gpt", "\u4f60", "\U0001f600"])),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3), st.dictionaries(st.sampled_from(["model", "role", "content", "include_usage"]), inner, max_size=3)
    ),
    max_leaves=8,
)
bodies = st.dictionaries(
    st.sampled_from(["model", "n", "stream", "max_tokens", "stream_options", "messages", "prompt", "x"]), json_values, max_size=5
)


@given(fields=bodies, ascii_only=st.booleans())
def test_any_json_object_is_read_or_refused_with_a_400(fields: dict[str, Any], ascii_only: bool) -> None:
    raw = json.dumps(fields, ensure_ascii=ascii_only).encode()

    with suppress(BadRequest):
        assert read_head(raw).model == fields.get("model")


@given(noise=st.binary(max_size=60))
def test_any_bytes_are_read_or_refused_with_a_400(noise: bytes) -> None:
    for raw in (noise, b'{"model":' + noise + b"}", b'{"' + noise + b'":1}'):
        with suppress(BadRequest):
            read_head(raw)
