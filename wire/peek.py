"""What the relay must know of a request or an answer, without parsing all of it.

A body in the caller's own format passes on as it came, so it is judged as the upstream will read it: a field that we decide on must not
stand there twice (some parsers take the first, some the last), not even written with escapes, and not in other letters either, because
Go's encoding/json matches names regardless of case (https://pkg.go.dev/encoding/json#Unmarshal). One pass over the top level gives all
names and raw values; what is inside `messages` is skipped at the parser's full speed.

Wire facts: https://platform.openai.com/docs/api-reference/chat and https://platform.openai.com/docs/api-reference/completions.
"""

import re
from typing import Annotated, Any

import msgspec
from msgspec import Raw

from wire.errors import BadRequest, DuplicateField, InvalidJSON
from wire.textsize import TextSize, text_size

__all__ = [
    "DECIDED",
    "Chunk",
    "Fields",
    "Head",
    "StreamOptions",
    "Tail",
    "TextSize",
    "fields_of",
    "maybe_terminal",
    "read_answer",
    "read_chunk",
    "read_head",
    "replace_fields",
    "text_size",
    "with_changes",
]

EMPTY = Raw()
Fields = list[tuple[str, Raw]]
"""The top level of a JSON object, in its order, duplicates included."""

_Limit = Annotated[int, msgspec.Meta(ge=0, le=2**30)]
_Count = Annotated[int, msgspec.Meta(ge=1, le=128)]
_LONGEST_NUMBER = 400  # bytes; a double has at most 309 digits before its point
_UNREADABLE = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)
_FIELD_IN_MESSAGE = re.compile(r"(.*?) - at `\$\.(\w+)")


class StreamOptions(msgspec.Struct):
    """The part of `stream_options` that changes what we do."""

    include_usage: bool | None = None


class Head(msgspec.Struct):
    """The fields of a request that we decide, price or count by. Missing or null is None; a missing raw value is empty."""

    model: str | None = None
    stream: bool | None = None
    max_tokens: _Limit | None = None
    max_completion_tokens: _Limit | None = None
    n: _Count | None = None
    best_of: _Count | None = None
    echo: bool | None = None
    stream_options: StreamOptions | None = None
    previous_response_id: str | None = None
    service_tier: str | None = None
    store: bool | None = None
    messages: Raw = EMPTY
    prompt: Raw = EMPTY
    input: Raw = EMPTY
    suffix: Raw = EMPTY
    tools: Raw = EMPTY
    tool_choice: Raw = EMPTY
    functions: Raw = EMPTY
    response_format: Raw = EMPTY
    prediction: Raw = EMPTY
    web_search_options: Raw = EMPTY
    modalities: Raw = EMPTY
    conversation: Raw = EMPTY
    fields: Fields = []
    """All fields of the body, for `with_changes`."""

    @property
    def answers(self) -> int:
        """How many answers to each input the upstream is asked to make."""
        return max(self.n or 1, self.best_of or 1)


_RAW = frozenset(field.name for field in msgspec.structs.fields(Head) if field.type is Raw)
_DECIDED = frozenset(Head.__struct_fields__) - {"fields"}
DECIDED: tuple[bytes, ...] = tuple(name.encode() for name in Head.__struct_fields__ if name != "fields")
"""The fields that may stand in a body once, and only in these letters."""

_KEYS = {name: b'"' + name.encode() + b'":' for name in _DECIDED}


class _Name:
    """A field's name that equals nothing else, so that a dict keeps both of two fields with the same name."""

    __slots__ = ("text",)

    def __init__(self, _type: type, text: str) -> None:
        self.text = text


_decode_fields = msgspec.json.Decoder(dict[_Name, Raw], dec_hook=_Name).decode
_decode_head = msgspec.json.Decoder(Head).decode


def fields_of(body: bytes) -> Fields:
    """The names and raw values at the top level of a JSON object.

    Raises InvalidJSON, BadRequest where it is something else than an object.
    """
    try:
        return [(name.text, raw) for name, raw in _decode_fields(body).items()]
    except msgspec.ValidationError:
        raise BadRequest("The body is JSON, but not an object. Send one JSON object.") from None
    except RecursionError:
        raise InvalidJSON("The body is nested too deeply. Send a flatter one.") from None
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise InvalidJSON(f"The body is not valid JSON: {error}. Send one JSON object, encoded in UTF-8.") from None


def read_head(body: bytes) -> Head:
    """What the relay decides by.

    Raises InvalidJSON (malformed, not UTF-8, too deep), DuplicateField (a decided field twice, or in other letters), BadRequest (no
    object, wrong types, numbers out of range).
    """
    if not body.isascii():
        try:
            body.decode()
        except UnicodeDecodeError as error:
            raise InvalidJSON(f"The body is not valid UTF-8 at byte {error.start}. Encode it in UTF-8.") from None
    fields = fields_of(body)
    seen: dict[str, Raw] = {}
    small: list[bytes | Raw] = []
    for name, raw in fields:
        if name in _DECIDED:
            if name in seen:
                raise DuplicateField(f"The body names the field '{name}' twice. Send it once.", param=name)
            seen[name] = raw
            if name not in _RAW:
                small += (b"," if small else b"{", _KEYS[name], raw)
        else:
            _check_undecided(name, raw)
    head = _head_of(b"".join(small) + b"}" if small else b"{}")
    if head.stream_options is not None:
        _check_options(seen["stream_options"])
    for name in _RAW & seen.keys():
        raw = seen[name]
        if bytes(memoryview(raw)[:4]) != b"null":
            setattr(head, name, raw)
    head.fields = fields
    return head


def _check_undecided(name: str, raw: Raw) -> None:
    letters = name.casefold()
    if letters in _DECIDED:
        message = f"The body has a field {name[:64]!r}, which some upstreams take for '{letters}'. Write '{letters}'."
        raise DuplicateField(message, param=letters)
    view = memoryview(raw)
    if len(view) > _LONGEST_NUMBER and view[0] in b"-0123456789":
        raise BadRequest(f"The field {name[:64]!r} holds a number that is too long. Send a shorter one.", param=name[:64])


def _check_options(options: Raw) -> None:
    names = [name.casefold() for name, _ in fields_of(bytes(options))]
    if len(set(names)) < len(names):
        raise DuplicateField("The field 'stream_options' names a field twice. Send it once.", param="stream_options")


def _head_of(small: bytes) -> Head:
    try:
        return _decode_head(small)
    except msgspec.ValidationError as error:
        found = _FIELD_IN_MESSAGE.match(str(error))
        what, name = found.groups() if found else (str(error), None)
        what = what.replace("`", "'").replace("Expected", "expected", 1)
        raise BadRequest(f"The field '{name}' has a value that cannot be used: {what}. Correct it, or leave it out.", param=name) from None
    except _UNREADABLE as error:
        raise InvalidJSON(f"The body is not valid JSON: {error}. Send one JSON object, encoded in UTF-8.") from None


def replace_fields(body: bytes, changes: dict[str, bytes | None]) -> bytes:
    """The body with top-level fields set to raw JSON values, or removed (None).

    All other values survive byte for byte. Raises as `fields_of`.
    """
    return with_changes(fields_of(body), changes)


def with_changes(fields: Fields, changes: dict[str, bytes | None]) -> bytes:
    """`replace_fields` for a body that was already split: `Head.fields`."""
    pieces: list[bytes | Raw] = []
    left = dict(changes)
    for name, raw in fields:
        value: bytes | Raw | None = raw
        if name in changes:
            value = left.pop(name, None)
        if value is not None:
            pieces += (b",", _KEYS.get(name) or msgspec.json.encode(name) + b":", value)
    for name, added in left.items():
        if added is not None:
            pieces += (b",", msgspec.json.encode(name) + b":", added)
    pieces[:1] = [b"{"]
    pieces.append(b"}")
    return b"".join(pieces)


class Tail(msgspec.Struct):
    """What matters of a plain answer."""

    model: str | None
    choices: int
    """Choices of a chat or completion, vectors of an embedding, verdicts of a moderation."""
    has_content: bool
    """Something that a caller would pay for: text, reasoning, a tool call, a refusal, audio, images, vectors, verdicts."""
    text: str
    """All its text, joined, to be counted where usage is missing."""
    finish_reason: str | None
    usage: Raw | None
    error: Raw | None


class Chunk(msgspec.Struct, gc=False):
    """What matters of one event of a stream."""

    choices: int
    content: bool
    """Text, reasoning, a tool call, a refusal, audio or images: what ends failover. A role alone is none."""
    text: str
    """Its text, joined, to be counted where usage is missing."""
    finish: bool
    """A choice ended here: a finish reason that is not empty."""
    usage: Raw | None
    error: Raw | None


class _Call(msgspec.Struct):
    name: Any = None
    arguments: Any = None


class _ToolCall(msgspec.Struct):
    function: _Call | None = None
    custom: Any = None


class _Delta(msgspec.Struct):
    """A message or a part of one.

    Fields of several vendors: `reasoning_content` is DeepSeek's, `reasoning` and `images` are OpenRouter's, content as a list is
    Mistral's.
    """

    content: str | list[Any] | None = None
    reasoning_content: Any = None
    reasoning: Any = None
    refusal: str | None = None
    tool_calls: list[_ToolCall] | None = None
    function_call: _Call | None = None
    audio: dict[str, Any] | None = None
    images: list[Any] | None = None


class _Choice(msgspec.Struct):
    delta: _Delta | None = None
    message: _Delta | None = None
    text: str | None = None
    finish_reason: str | None = None


class _Answer(msgspec.Struct):
    model: str | None = None
    choices: list[_Choice] | None = None
    data: list[Raw] | None = None
    results: list[Raw] | None = None
    usage: Raw = EMPTY
    error: Raw = EMPTY


class _Event(msgspec.Struct):
    choices: list[_Choice] | None = None
    usage: Raw = EMPTY
    error: Raw = EMPTY


_decode_answer = msgspec.json.Decoder(_Answer).decode
_decode_event = msgspec.json.Decoder(_Event).decode


def read_answer(body: bytes) -> Tail | None:
    """A plain chat, completion, embedding or moderation answer; None where it is not one (malformed, or of another shape)."""
    try:
        answer = _decode_answer(body)
    except _UNREADABLE:
        return None
    choices = answer.choices or []
    texts = [_text_of(choice) for choice in choices]
    listed = (answer.data or []) + (answer.results or [])
    return Tail(
        model=answer.model,
        choices=len(choices) + len(listed),
        has_content=bool(listed) or any(text is not None for text in texts),
        text="".join(text for text in texts if text),
        finish_reason=next((choice.finish_reason for choice in choices if choice.finish_reason), None),
        usage=_said(answer.usage),
        error=_said(answer.error),
    )


def read_chunk(data: bytes) -> Chunk | None:
    """The data of one event of a stream (see `sse.data_of`); None where it is not a chunk: `[DONE]`, malformed, or of another shape."""
    try:
        event = _decode_event(data)
    except _UNREADABLE:
        return None
    usage = None if event.usage is EMPTY else _said(event.usage)
    error = None if event.error is EMPTY else _said(event.error)
    choices = event.choices
    if not choices:
        return Chunk(0, False, "", False, usage, error)
    finish = False
    found = None
    for choice in choices:
        if choice.finish_reason:
            finish = True
        text = _text_of(choice)
        if text is not None:
            found = text if found is None else found + text
    return Chunk(len(choices), found is not None, found or "", finish, usage, error)


def _said(raw: Raw) -> Raw | None:
    """The value, None where it is missing or null."""
    return None if bytes(raw) in (b"", b"null") else raw


def _text_of(choice: _Choice) -> str | None:
    """The text of a choice, "" where it has content without text, None where it has no content."""
    delta = choice.delta or choice.message
    if delta is None:
        return choice.text or None
    content = delta.content
    if content and content.__class__ is str and not (delta.tool_calls or delta.reasoning_content or delta.reasoning):
        return content
    return _all_text_of(delta)


def _all_text_of(delta: _Delta) -> str | None:
    parts: list[Any] = [delta.reasoning_content or delta.reasoning, delta.content, delta.refusal]
    for call in delta.tool_calls or ():
        parts.append(call.custom or {})
        if call.function is not None:
            parts += (call.function.name, call.function.arguments)
    if delta.function_call is not None:
        parts += (delta.function_call.name, delta.function_call.arguments)
    if delta.audio:
        parts.append(delta.audio.get("transcript"))
    texts = [text if isinstance(text, str) else msgspec.json.encode(text).decode() for text in parts if text]
    if texts or delta.tool_calls or delta.function_call or delta.audio or delta.images:
        return "".join(texts)
    return None


def maybe_terminal(data: bytes) -> bool:
    """Whether an event may end its stream, fail it or carry its usage. A yes must be looked at with `read_chunk`; a no is certain, and
    far cheaper.

    No is said of the plainest chunk only, which streams are full of. With a delta and exactly three objects, these are the root, one
    choice and its delta: there is no room for a usage, an error or a second choice, and that one choice has no finish reason.
    """
    if data.count(b"{") != 3 or data.rfind(b'"delta"') < 0:
        return True
    return data.rfind(b'"finish_reason":null') < 0 and data.rfind(b'"finish_reason": null') < 0
