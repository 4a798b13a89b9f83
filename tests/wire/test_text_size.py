"""The size of a request's input: exact for what is known, never too small for what is not."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wire.errors import BadRequest
from wire.peek import TextSize, read_head, text_size


def size_of(**fields: Any) -> TextSize:
    return text_size(read_head(json.dumps(fields).encode()))


def size_of_message(**message: Any) -> TextSize:
    return size_of(messages=[{"role": "user", **message}])


def test_twelve_ascii_bytes_are_twelve() -> None:
    assert size_of_message(content="hello world!") == TextSize(12, 1, (), 0, 0, False)


def test_text_is_measured_decoded_in_utf8() -> None:
    raw = b'{"messages":[{"role":"user","content":"\\u4f60\\ud83d\\ude00 \\n"}]}'

    assert text_size(read_head(raw)).bytes == len("你😀 \n".encode())


def test_parts_names_calls_and_results_are_counted() -> None:
    size = size_of(
        messages=[
            {"role": "system", "content": "12345", "name": "ab"},
            {"role": "user", "content": [{"type": "text", "text": "678"}, {"type": "text", "text": "9"}]},
            {
                "role": "assistant",
                "content": None,
                "tool_calls": [{"id": "c1", "type": "function", "function": {"name": "go", "arguments": '{"a":1}'}}],
            },
            {"role": "tool", "tool_call_id": "c1", "content": "sunny"},
            {"role": "assistant", "content": "", "reasoning_content": "hm", "refusal": "no"},
            {"role": "assistant", "function_call": {"name": "f", "arguments": "{}"}},
        ]
    )

    assert size == TextSize(7 + 4 + len("c1function") + 9 + 7 + 4 + 3, 6, (), 0, 0, False)


def test_a_role_of_ones_own_is_text() -> None:
    assert size_of(messages=[{"role": "x" * 500, "content": "a"}]).bytes == 501


def test_tools_and_schemas_count_as_they_stand() -> None:
    tools = [{"type": "function", "function": {"name": "f"}}]

    size = size_of(messages=[], tools=tools, functions=[1], response_format={"type": "text"}, tool_choice="auto", prediction={"content": "x"})

    expected = (tools, [1], {"type": "text"}, "auto", {"content": "x"})
    assert size == TextSize(sum(len(json.dumps(value)) for value in expected), 0, (), 0, 0, False)


def test_images_are_listed_by_detail_and_their_data_is_no_text() -> None:
    size = size_of_message(
        content=[
            {"type": "text", "text": "look"},
            {"type": "image_url", "image_url": {"url": "data:image/png;base64," + "A" * 10_000, "detail": "high"}},
            {"type": "image_url", "image_url": {"url": "https://example.com/a.png", "detail": "low"}},
            {"type": "image_url", "image_url": {"url": "https://example.com/b.png"}},
            {"type": "image_url", "image_url": "https://example.com/c.png"},
        ]
    )

    assert size == TextSize(4, 1, ("high", "low", "auto", "auto"), 0, 0, False)


def test_audio_is_measured_in_bytes_of_sound() -> None:
    assert size_of_message(content=[{"type": "input_audio", "input_audio": {"data": "A" * 4000, "format": "wav"}}]).audio_bytes == 3000


def test_files_are_counted_and_a_file_elsewhere_is_remote() -> None:
    inside = size_of_message(content=[{"type": "file", "file": {"filename": "a.pdf", "file_data": "data:application/pdf;base64,AAAA"}}])
    elsewhere = size_of_message(content=[{"type": "file", "file": {"file_id": "file-1"}}])

    assert (inside.files, inside.bytes, inside.remote) == (1, 5, False)
    assert (elsewhere.files, elsewhere.remote) == (1, True)


@pytest.mark.parametrize("fields", [{"previous_response_id": "resp_1"}, {"conversation": "conv_1"}, {"prompt": {"id": "pmpt_1"}}])
def test_what_only_refers_is_remote(fields: dict[str, Any]) -> None:
    assert size_of(**fields).remote


@pytest.mark.parametrize(
    ("prompt", "size"),
    [
        ("hello", (5, 1)),
        (["hello", "你"], (8, 2)),
        ([1, 2, 3], (3, 1)),
        ([[1, 2], [3]], (3, 2)),
        ([], (0, 0)),
        (None, (0, 0)),
    ],
)
@pytest.mark.parametrize("field", ["prompt", "input"])
def test_prompts_are_text_or_tokens(field: str, prompt: Any, size: tuple[int, int]) -> None:
    found = size_of(**{field: prompt})

    assert (found.bytes, found.messages, found.remote) == (*size, False)


def test_moderation_takes_parts() -> None:
    size = size_of(input=[{"type": "text", "text": "abc"}, {"type": "image_url", "image_url": {"url": "https://example.com/a.png"}}])

    assert (size.bytes, size.images, size.remote) == (3, ("auto",), False)


def test_an_unknown_field_makes_its_message_count_with_its_json() -> None:
    odd = {"role": "user", "content": "abc", "extra": "y" * 100}

    size = size_of(messages=[odd, {"role": "user", "content": "12345"}])

    assert size == TextSize(len(json.dumps(odd)) + 5, 2, (), 0, 0, False)


def test_an_unknown_field_does_not_turn_an_image_into_text() -> None:
    part = {
        "type": "image_url",
        "image_url": {"url": "data:image/png;base64," + "A" * 10_000, "detail": "low"},
        "cache_control": {"type": "ephemeral"},
    }

    size = size_of_message(content=[{"type": "text", "text": "look"}, part])

    assert size.images == ("low",)
    assert size.bytes < 500
    assert not size.remote


@pytest.mark.parametrize(
    "content",
    [{"type": "text"}, 5, [5], [{"type": "video_url", "video_url": {"url": "https://example.com/a.mp4"}}], [{"type": "image_url", "image_url": {}}]],
)
def test_an_unknown_shape_counts_with_its_json_and_is_remote(content: Any) -> None:
    size = size_of_message(content=content)

    assert size.remote
    assert size.messages == 1


@pytest.mark.parametrize("messages", [{}, "hello", 5])
def test_messages_that_are_no_list_are_refused(messages: Any) -> None:
    with pytest.raises(BadRequest, match="messages"):
        size_of(messages=messages)


anything: st.SearchStrategy[Any] = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(0, 9), st.sampled_from(["", "text", "user", "\u4f60\u597d", "\U0001f600", "file", "image_url"])),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.dictionaries(st.sampled_from(["type", "text", "content", "image_url", "file", "name", "x"]), inner, max_size=4),
    ),
    max_leaves=12,
)
messages = st.lists(st.dictionaries(st.sampled_from(["role", "content", "name", "tool_calls", "x"]), anything, max_size=4), max_size=3)


def text_within(value: Any) -> int:
    if isinstance(value, str):
        return len(value.encode())
    if isinstance(value, dict):
        return sum(text_within(name) + text_within(inner) for name, inner in value.items())
    return sum(map(text_within, value)) if isinstance(value, list) else 0


def visible_text(message: dict[str, Any]) -> int:
    content = message.get("content")
    texts = (
        [content]
        if isinstance(content, str)
        else [part.get("text") for part in content if isinstance(part, dict)]
        if isinstance(content, list)
        else []
    )
    return sum(text_within(text) for text in [*texts, message.get("name")] if isinstance(text, str))


@given(sent=messages)
def test_any_messages_have_a_bound_above_their_text_or_are_remote(sent: list[dict[str, Any]]) -> None:
    size = size_of(messages=sent)

    assert size.messages == len(sent)
    assert size.bytes >= sum(map(visible_text, sent))
    assert size.bytes <= len(json.dumps(sent, ensure_ascii=True))


@given(field=st.sampled_from(["prompt", "input"]), sent=anything)
def test_any_prompt_has_a_bound_above_its_text(field: str, sent: Any) -> None:
    size = size_of(**{field: sent})

    if isinstance(sent, str) or (isinstance(sent, list) and all(isinstance(one, str) for one in sent)):
        assert size.bytes == text_within(sent)
    assert size.bytes >= 0
