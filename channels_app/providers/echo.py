"""The built-in provider that says the prompt back, with usage: a gateway can be tried without anybody's key.

Its answers have the shape of https://platform.openai.com/docs/api-reference/chat. A token is a word here, and at least one.
"""

import base64
import hashlib
import struct
import time
from collections.abc import Iterable, Iterator
from typing import Any

import msgspec

from channels_app.provider import Operation, Provider
from outbound.transport import MemoryAnswer
from wire import sse

DIMENSIONS = 8


class _Ask(msgspec.Struct):
    model: str = "echo"
    stream: bool | None = None
    stream_options: dict[str, Any] | None = None
    messages: list[dict[str, Any]] = []
    prompt: Any = ""
    input: Any = ""
    max_tokens: int | None = None
    max_completion_tokens: int | None = None
    encoding_format: str | None = None


class Echo(Provider):
    slug = "echo"
    name = "Echo (built in)"
    key_hint = "none needed"
    needs_key = False
    models = ("echo",)

    def answer(self, operation: Operation, body: bytes) -> MemoryAnswer:
        try:
            ask = msgspec.json.decode(body, type=_Ask)
        except (msgspec.DecodeError, RecursionError) as error:
            return _refused(str(error))
        if not operation.has_output and not _inputs(ask):
            return _refused("'input' must not be empty.")
        if operation is Operation.EMBEDDINGS:
            return _whole(_embeddings(ask))
        if operation is Operation.MODERATIONS:
            return _whole(_moderations(ask))
        words, finish = _cut(_words(_said(ask, operation)), ask)
        usage = {"prompt_tokens": max(1, _length(ask, operation)), "completion_tokens": len(words)}
        usage["total_tokens"] = usage["prompt_tokens"] + usage["completion_tokens"]
        if ask.stream:
            wants_usage = bool((ask.stream_options or {}).get("include_usage"))
            return MemoryAnswer(200, {"content-type": "text/event-stream"}, _events(ask, operation, words, finish, usage if wants_usage else None))
        choice = {"index": 0, "finish_reason": finish, "logprobs": None, **_piece(operation, "message", "".join(words))}
        return _whole({**_head(ask, operation, ""), "choices": [choice], "usage": usage})


def _refused(reason: str) -> MemoryAnswer:
    failure = {"error": {"message": reason, "type": "invalid_request_error", "param": None, "code": None}}
    return MemoryAnswer(400, {"content-type": "application/json"}, [msgspec.json.encode(failure)])


def _whole(answer: dict[str, Any]) -> MemoryAnswer:
    return MemoryAnswer(200, {"content-type": "application/json"}, [msgspec.json.encode(answer)])


def _text(content: Any) -> str:
    if isinstance(content, list):
        return " ".join(_text(part) for part in content)
    if isinstance(content, dict):
        return _text(content.get("text") or "")
    return str(content) if content is not None else ""


def _said(ask: _Ask, operation: Operation) -> str:
    if operation is Operation.COMPLETIONS:
        return _text(ask.prompt)
    asked = [message for message in ask.messages if message.get("role") == "user"]
    return _text(asked[-1].get("content")) if asked else "Hello from the echo provider."


def _length(ask: _Ask, operation: Operation) -> int:
    texts = [ask.prompt] if operation is Operation.COMPLETIONS else [message.get("content") for message in ask.messages]
    return sum(len(_text(text).split()) for text in texts)


def _words(text: str) -> list[str]:
    words = text.split(" ")
    return [word + " " for word in words[:-1]] + [words[-1] or "."]


def _cut(words: list[str], ask: _Ask) -> tuple[list[str], str]:
    """The words that the caller's limit allows, and why they end there."""
    limit = ask.max_tokens if ask.max_completion_tokens is None else ask.max_completion_tokens
    return (words, "stop") if limit is None or limit >= len(words) else (words[: max(1, limit)], "length")


def _head(ask: _Ask, operation: Operation, suffix: str) -> dict[str, Any]:
    kind = "text_completion" if operation is Operation.COMPLETIONS else f"chat.completion{suffix}"
    return {"id": "echo-1", "object": kind, "created": int(time.time()), "model": ask.model}


def _piece(operation: Operation, field: str, text: str) -> dict[str, Any]:
    return {"text": text} if operation is Operation.COMPLETIONS else {field: {"role": "assistant", "content": text}}


def _events(ask: _Ask, operation: Operation, words: Iterable[str], finish: str, usage: dict[str, int] | None) -> Iterator[bytes]:
    head = _head(ask, operation, ".chunk")
    for number, word in enumerate(words):
        piece = _piece(operation, "delta", word)
        if number and "delta" in piece:
            piece["delta"].pop("role")  # clients that add up deltas would repeat it
        yield sse.encode(msgspec.json.encode({**head, "choices": [{"index": 0, "finish_reason": None, **piece}]}))
    end: dict[str, Any] = {"text": ""} if operation is Operation.COMPLETIONS else {"delta": {}}
    yield sse.encode(msgspec.json.encode({**head, "choices": [{"index": 0, "finish_reason": finish, **end}]}))
    if usage is not None:
        yield sse.encode(msgspec.json.encode({**head, "choices": [], "usage": usage}))
    yield sse.encode(b"[DONE]")


def _inputs(ask: _Ask) -> list[str]:
    return [_text(item) for item in ask.input] if isinstance(ask.input, list) else [_text(ask.input)]


def _embeddings(ask: _Ask) -> dict[str, Any]:
    inputs = _inputs(ask)
    used = sum(max(1, len(text.split())) for text in inputs)
    data = [{"object": "embedding", "index": index, "embedding": _vector(text, ask.encoding_format)} for index, text in enumerate(inputs)]
    return {"object": "list", "data": data, "model": ask.model, "usage": {"prompt_tokens": used, "total_tokens": used}}


def _vector(text: str, form: str | None) -> list[float] | str:
    numbers = [round(byte / 127.5 - 1, 6) for byte in hashlib.sha256(text.encode()).digest()[:DIMENSIONS]]
    return base64.b64encode(struct.pack(f"<{DIMENSIONS}f", *numbers)).decode() if form == "base64" else numbers


def _moderations(ask: _Ask) -> dict[str, Any]:
    results = [{"flagged": False, "categories": {}, "category_scores": {}} for _ in _inputs(ask)]
    return {"id": "echo-1", "model": ask.model, "results": results}


PROVIDER = Echo()
