"""How much input a request carries: the numbers from which the worst case of its cost is made.

The bound must hold against every tokenizer and every chat template, so it is one token a UTF-8 byte of decoded text (no byte-level
tokenizer makes more), and whatever is not understood counts with its whole JSON, which is longer than what it says. Media are only listed
here; what they cost is the model's own table.

Wire facts: https://platform.openai.com/docs/api-reference/chat/create#chat-create-messages
"""

from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec
from msgspec import Raw

from wire.errors import BadRequest

if TYPE_CHECKING:
    from wire.peek import Head


class TextSize(NamedTuple):
    """The size of a request's input."""

    bytes: int
    """UTF-8 bytes of all decoded text; a token given as a number is one byte; tools and schemas as they stand in the body."""
    messages: int
    """Messages, or prompts: each costs some tokens around its text."""
    images: tuple[str, ...]
    """The detail asked of each image: low, high or auto."""
    files: int
    audio_bytes: int
    """Bytes of recorded sound, decoded from base64."""
    remote: bool
    """Something is only referred to, or has a shape that is not known: its size cannot be seen here."""


class _Image(msgspec.Struct):
    url: str | None = None
    detail: str | None = None
    file_id: str | None = None


class _Media(msgspec.Struct):
    data: str | None = None
    file_data: str | None = None
    file_id: str | None = None
    file_url: str | None = None
    filename: str | None = None


class _Part(msgspec.Struct):
    """A piece of a message's content; `forbid_unknown_fields` is left to its strict subclass."""

    type: str | None = None
    text: str | None = None
    refusal: str | None = None
    image_url: _Image | str | None = None
    input_audio: _Media | None = None
    file: _Media | None = None


class _StrictPart(_Part, forbid_unknown_fields=True):
    pass


class _Function(msgspec.Struct, forbid_unknown_fields=True):
    name: str | None = None
    arguments: str | None = None


class _ToolCall(msgspec.Struct, forbid_unknown_fields=True):
    id: str | None = None
    type: str | None = None
    index: int | None = None
    function: _Function | None = None


class _Message(msgspec.Struct, forbid_unknown_fields=True):
    """A message of which every field is known, so that its text can be counted exactly."""

    role: str | None = None
    content: str | list[_StrictPart] | None = None
    name: str | None = None
    refusal: str | None = None
    reasoning_content: str | None = None
    reasoning: str | None = None
    tool_call_id: str | None = None
    tool_calls: list[_ToolCall] | None = None
    function_call: _Function | None = None


class _LooseMessage(msgspec.Struct):
    """A message with fields that are not known: only its media are looked for."""

    content: str | list[_Part] | None = None
    audio: Any = None


_decode_messages = msgspec.json.Decoder(list[_Message]).decode
_decode_each = msgspec.json.Decoder(list[Raw]).decode
_decode_message = msgspec.json.Decoder(_Message).decode
_decode_loose = msgspec.json.Decoder(_LooseMessage).decode
_decode_prompts = msgspec.json.Decoder(str | list[str | int | list[int] | _StrictPart]).decode
_UNREADABLE = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)

# Roles that a chat template turns into a token or two, which the tokens around a message cover. Any other role is text that the caller
# chose.
_ROLES = frozenset(("system", "developer", "user", "assistant", "tool", "function"))
_PART_TYPES = frozenset(("text", "refusal", "image_url", "input_audio", "file"))
_DETAILS = frozenset(("low", "high", "auto"))
_COUNTED_AS_WRITTEN = ("suffix", "tools", "tool_choice", "functions", "response_format", "prediction", "web_search_options")


def text_size(head: "Head") -> TextSize:
    """The size of a request's input, never less than an upstream can make of it. Raises BadRequest where `messages` is not a list."""
    count = _Counter()
    if view := memoryview(head.messages):
        count.messages_of(head.messages, len(view))
    for raw in (head.prompt, head.input):
        if view := memoryview(raw):
            count.prompts_of(raw, len(view))
    for name in _COUNTED_AS_WRITTEN:
        count.bytes += len(memoryview(getattr(head, name)))
    if head.previous_response_id or memoryview(head.conversation):
        count.remote = True
    return TextSize(count.bytes, count.messages, tuple(count.images), count.files, count.audio_bytes, count.remote)


def _length(text: str | None) -> int:
    if not text:
        return 0
    return len(text) if text.isascii() else len(text.encode())


def _base64_bytes(data: str | None) -> int:
    return len(data or "") * 3 // 4


class _Counter:
    """The sums of one request."""

    __slots__ = ("audio_bytes", "bytes", "files", "images", "messages", "remote")

    def __init__(self) -> None:
        self.bytes = self.messages = self.files = self.audio_bytes = 0
        self.images: list[str] = []
        self.remote = False

    def messages_of(self, raw: Raw, size: int) -> None:
        try:
            messages = _decode_messages(raw)
        except _UNREADABLE:
            self._doubtful_messages_of(raw, size)
            return
        self.messages += len(messages)
        for message in messages:
            self._message(message)

    def _doubtful_messages_of(self, raw: Raw, size: int) -> None:
        """Some message has a field or a shape that is not known: the others still count exactly."""
        try:
            each = _decode_each(raw)
        except msgspec.ValidationError:
            raise BadRequest("The field 'messages' is not a list. Send a list of messages.", param="messages") from None
        except _UNREADABLE:
            self.messages, self.bytes, self.remote = self.messages + 1, self.bytes + size, True
            return
        self.messages += len(each)
        for one in each:
            try:
                self._message(_decode_message(one))
            except _UNREADABLE:
                self._doubtful_message(one)

    def _doubtful_message(self, raw: Raw) -> None:
        self.bytes += len(memoryview(raw))
        try:
            message = _decode_loose(raw)
        except _UNREADABLE:
            self.remote = True
            return
        self.remote |= message.audio is not None
        if isinstance(message.content, list):
            text_before = self.bytes
            carried = sum(self._part(part) for part in message.content)
            self.bytes = text_before - carried  # the text is in the JSON already, and media have their own price

    def _message(self, message: _Message) -> None:
        content = message.content
        if isinstance(content, str):
            self.bytes += len(content) if content.isascii() else len(content.encode())
        elif content:
            for part in content:
                self._part(part)
        if message.role not in _ROLES:
            self.bytes += _length(message.role)
        for text in (message.name, message.refusal, message.reasoning_content, message.reasoning, message.tool_call_id):
            self.bytes += _length(text)
        if message.tool_calls:
            for call in message.tool_calls:
                self.bytes += _length(call.id) + _length(call.type)
                self._function(call.function)
        self._function(message.function_call)

    def _function(self, function: _Function | None) -> None:
        if function is not None:
            self.bytes += _length(function.name) + _length(function.arguments)

    def _part(self, part: _Part) -> int:
        """Count one part; return how many characters of it are media in base64."""
        self.bytes += _length(part.text) + _length(part.refusal)
        carried = 0
        if part.image_url is not None:
            carried += self._image(part.image_url)
        if part.input_audio is not None:
            self.audio_bytes += _base64_bytes(part.input_audio.data)
            carried += len(part.input_audio.data or "")
            self.remote |= not part.input_audio.data
        if part.file is not None:
            self.files += 1
            self.bytes += _length(part.file.filename)
            carried += len(part.file.file_data or "")
            self.remote |= not part.file.file_data or bool(part.file.file_id or part.file.file_url)
        if part.type not in _PART_TYPES:
            self.remote = True
        return carried

    def _image(self, image: _Image | str) -> int:
        url, detail = (image, None) if isinstance(image, str) else (image.url, image.detail)
        self.images.append(detail if detail in _DETAILS else "auto")
        if not url:
            self.remote = True
            return 0
        return len(url) if url.startswith("data:") else 0

    def prompts_of(self, raw: Raw, size: int) -> None:
        try:
            prompts = _decode_prompts(raw)
        except _UNREADABLE:
            self.messages, self.bytes, self.remote = self.messages + 1, self.bytes + size, True
            return
        if isinstance(prompts, str):
            self.messages += 1
            self.bytes += _length(prompts)
            return
        numbers = 0
        for prompt in prompts:
            if isinstance(prompt, int):
                numbers += 1
                continue
            self.messages += 1
            if isinstance(prompt, str):
                self.bytes += _length(prompt)
            elif isinstance(prompt, list):
                self.bytes += len(prompt)
            else:
                self._part(prompt)
        self.messages += bool(numbers)
        self.bytes += numbers
