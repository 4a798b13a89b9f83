"""Answers in OpenAI's format: plain ones, and the events of streams. https://platform.openai.com/docs/api-reference/chat

Every answer says the same 15 tokens and reports 20 + 15; it is cut at `max_tokens`, calls the first tool that it is offered, and obeys a schema.
"""

import base64
import hashlib
import json
import struct
import time
from collections.abc import Iterator
from typing import Any, Literal, NamedTuple

from tests.upstream.faults import DEFAULT, Fault

PROMPT_TOKENS = 20
TOKENS = ("Hello", "!", " I", " am", " a", " simulator", ";", " ask", " me", " what", " you", " like", ",", " please", ".")
TEXT = "".join(TOKENS)
DIMENSIONS = 16
FINGERPRINT = "fp_50cad350e4"
CATEGORIES = ("harassment", "hate", "illicit", "self-harm", "sexual", "violence")


class Event(NamedTuple):
    """One event of a stream, without its frame."""

    kind: Literal["role", "content", "finish", "usage", "done", "filter"]
    data: str


class Said(NamedTuple):
    """What the model says: pieces of text, or of a tool call's arguments."""

    pieces: tuple[str, ...]
    tool: str | None
    finish: str
    tokens: int


def said(ask: dict[str, Any], fault: Fault) -> Said:
    """The answer's content by the request alone."""
    if fault.empty:
        return Said((), None, "stop", 0)
    tool = _tool(ask)
    if tool is not None:
        pieces = _pieces(json.dumps(example(tool.get("parameters") or {})))
        return Said(pieces, tool["name"], "tool_calls", len(TOKENS))
    form = ask.get("response_format") or {}
    if form.get("type") == "json_schema":
        pieces = _pieces(json.dumps(example(form["json_schema"].get("schema") or {})))
    elif form.get("type") == "json_object":
        pieces = _pieces('{"answer": "text"}')
    else:
        pieces = _pieces(fault.content) if fault.content is not None else TOKENS
    limit = next((ask[name] for name in ("max_completion_tokens", "max_tokens") if ask.get(name)), None)
    if limit is not None and limit < len(pieces):
        return Said(pieces[:limit], None, "length", limit)
    return Said(pieces, None, "stop", len(TOKENS) if limit is None else min(limit, len(TOKENS)))


def _pieces(text: str) -> tuple[str, ...]:
    return tuple(text[start : start + 4] for start in range(0, len(text), 4))


def _tool(ask: dict[str, Any]) -> dict[str, Any] | None:
    """The function to call: the one demanded, else the first, unless forbidden or its result has just come."""
    offered = [tool["function"] for tool in ask.get("tools") or () if tool["type"] == "function"]
    choice = ask.get("tool_choice")
    if not offered or choice == "none" or ask["messages"][-1]["role"] == "tool":
        return None
    wanted = choice["function"]["name"] if isinstance(choice, dict) else None
    return next((function for function in offered if wanted in (None, function["name"])), None)


def example(schema: dict[str, Any], root: dict[str, Any] | None = None) -> Any:
    """A small value that a JSON schema allows."""
    root = root or schema
    if "$ref" in schema:
        found: Any = root
        for step in schema["$ref"].removeprefix("#/").split("/"):
            found = found[step]
        return example(found, root)
    if "const" in schema or "enum" in schema:
        return schema.get("const", (schema.get("enum") or [None])[0])
    if "anyOf" in schema:
        return example(schema["anyOf"][0], root)
    kind = schema.get("type", "object")
    kind = kind[0] if isinstance(kind, list) else kind
    if kind == "object":
        return {name: example(part, root) for name, part in schema.get("properties", {}).items()}
    if kind == "array":
        return [example(schema.get("items", {"type": "string"}), root)]
    return {"string": "text", "integer": 7, "number": 1.5, "boolean": True, "null": None}[kind]


def usage(ask: dict[str, Any], fault: Fault, tokens: int) -> Any:
    """The usage object, or what a fault puts in its place."""
    if fault.usage is not DEFAULT:
        return fault.usage
    output = tokens * choices(ask)
    return {
        "prompt_tokens": PROMPT_TOKENS,
        "completion_tokens": output,
        "total_tokens": PROMPT_TOKENS + output,
        "prompt_tokens_details": {"cached_tokens": 0, "audio_tokens": 0},
        "completion_tokens_details": {
            "reasoning_tokens": 0,
            "audio_tokens": 0,
            "accepted_prediction_tokens": 0,
            "rejected_prediction_tokens": 0,
        },
    }


def choices(ask: dict[str, Any]) -> int:
    """How many answers were asked for."""
    prompt = ask.get("prompt")
    several = len(prompt) if isinstance(prompt, list) and not isinstance(prompt[0], int) else 1
    return several * (ask.get("n") or 1)


def _identity(ask: dict[str, Any], kind: str, prefix: str) -> dict[str, Any]:
    number = hashlib.sha256(f"{time.monotonic_ns()}".encode()).hexdigest()[:24]
    return {"id": f"{prefix}-{number}", "object": kind, "created": int(time.time()), "model": ask["model"], "system_fingerprint": FINGERPRINT}


def _call(tool: str, arguments: str) -> dict[str, Any]:
    return {"id": f"call_{hashlib.sha256(tool.encode()).hexdigest()[:24]}", "type": "function", "function": {"name": tool, "arguments": arguments}}


def _with_usage(answer: dict[str, Any], ask: dict[str, Any], fault: Fault, tokens: int) -> dict[str, Any]:
    if fault.no_usage or fault.empty:
        return answer
    return {**answer, "usage": usage(ask, fault, tokens)}


def chat(ask: dict[str, Any], fault: Fault) -> dict[str, Any]:
    """A plain chat completion."""
    says = said(ask, fault)
    text = "".join(says.pieces)
    message: dict[str, Any] = {"role": "assistant", "content": text, "refusal": None, "annotations": []}
    if says.tool is not None:
        message |= {"content": None, "tool_calls": [_call(says.tool, text)]}
    picks = [{"index": index, "message": message, "logprobs": None, "finish_reason": says.finish} for index in range(choices(ask))]
    answer = {**_identity(ask, "chat.completion", "chatcmpl"), "choices": picks, "service_tier": "default"}
    return _with_usage(answer, ask, fault, says.tokens)


def completion(ask: dict[str, Any], fault: Fault) -> dict[str, Any]:
    """A plain legacy completion."""
    says = said(ask, fault)
    text = "".join(says.pieces)
    picks = [{"text": text, "index": index, "logprobs": None, "finish_reason": says.finish} for index in range(choices(ask))]
    return _with_usage({**_identity(ask, "text_completion", "cmpl"), "choices": picks}, ask, fault, says.tokens)


def events(ask: dict[str, Any], fault: Fault, *, legacy: bool) -> Iterator[Event]:
    """A stream, event by event. With `include_usage` every chunk says null and one more, without choices, says it; without, none says a word."""
    says = said(ask, fault)
    head = _identity(ask, "text_completion" if legacy else "chat.completion.chunk", "cmpl" if legacy else "chatcmpl")
    wanted = bool((ask.get("stream_options") or {}).get("include_usage")) and not fault.no_usage and not fault.empty
    given = usage(ask, fault, says.tokens)
    everywhere = {"usage": given} if fault.usage_everywhere else {"usage": None} if wanted else {}

    def chunk(picks: list[dict[str, Any]], extra: dict[str, Any]) -> str:
        return json.dumps({**head, "choices": picks, **extra}, ensure_ascii=False, separators=(",", ":"))

    def pick(index: int, part: dict[str, Any], finish: str | None = None) -> dict[str, Any]:
        return {"index": index, **part, "logprobs": None, "finish_reason": finish}

    if fault.filter_chunks:
        yield Event("filter", chunk([], {"prompt_filter_results": [{"prompt_index": 0, "content_filter_results": {}}]}))
    if wanted and fault.usage_early:
        yield Event("usage", chunk([], {"usage": given}))
    for index in range(choices(ask)):
        if not legacy:
            yield Event("role", chunk([pick(index, {"delta": _role(says)})], everywhere))
        for piece in says.pieces:
            part = {"text": piece} if legacy else {"delta": _delta(says, piece)}
            yield Event("content", chunk([pick(index, part)], everywhere))
        if not fault.no_finish:
            last = {"usage": given} if fault.usage_with_finish else everywhere
            yield Event("finish", chunk([pick(index, {"text": ""} if legacy else {"delta": {}}, says.finish)], last))
    if fault.filter_chunks:
        yield Event("filter", chunk([], {"content_filter_offsets": {"check_offset": 0, "start_offset": 0, "end_offset": 9}}))
    if wanted and not (fault.usage_with_finish or fault.usage_everywhere or fault.usage_early):
        yield from [Event("usage", chunk([], {"usage": given}))] * (2 if fault.usage_twice else 1)
    if not (fault.no_done or fault.no_finish):
        yield Event("done", "[DONE]")


def _role(says: Said) -> dict[str, Any]:
    if says.tool is None:
        return {"role": "assistant", "content": "", "refusal": None}
    return {"role": "assistant", "content": None, "tool_calls": [{"index": 0, **_call(says.tool, "")}], "refusal": None}


def _delta(says: Said, piece: str) -> dict[str, Any]:
    return {"content": piece} if says.tool is None else {"tool_calls": [{"index": 0, "function": {"arguments": piece}}]}


def embeddings(ask: dict[str, Any], fault: Fault) -> dict[str, Any]:
    """A vector for each input: the same text always has the same one."""
    given = ask["input"]
    inputs = given if isinstance(given, list) and not isinstance(given[0], int) else [given]
    data = [] if fault.empty else [{"object": "embedding", "index": index, "embedding": _vector(ask, text)} for index, text in enumerate(inputs)]
    answer: dict[str, Any] = {"object": "list", "data": data, "model": ask["model"]}
    if fault.no_usage or fault.empty:
        return answer
    own = {"prompt_tokens": PROMPT_TOKENS, "total_tokens": PROMPT_TOKENS}
    return {**answer, "usage": own if fault.usage is DEFAULT else fault.usage}


def _vector(ask: dict[str, Any], text: Any) -> list[float] | str:
    size = ask.get("dimensions") or DIMENSIONS
    seed = json.dumps(text).encode()
    numbers = [hashlib.sha256(seed + bytes([index % 256])).digest()[0] / 255 - 0.5 for index in range(size)]
    if ask.get("encoding_format") == "base64":
        return base64.b64encode(struct.pack(f"<{size}f", *numbers)).decode()
    return numbers


def moderation(ask: dict[str, Any], fault: Fault) -> dict[str, Any]:
    """One verdict for each text; a text with "violence" in it is flagged."""
    given = ask["input"]
    texts = [given] if isinstance(given, str) or not isinstance(given[0], str) else given
    results = [] if fault.empty else [_verdict("violence" in json.dumps(text)) for text in texts]
    return {"id": "modr-0d9740456c391e43c445bf0f010940c7", "model": ask.get("model") or "omni-moderation-latest", "results": results}


def _verdict(flagged: bool) -> dict[str, Any]:
    return {
        "flagged": flagged,
        "categories": {name: flagged and name == "violence" for name in CATEGORIES},
        "category_scores": {name: 0.97 if flagged and name == "violence" else 0.001 for name in CATEGORIES},
        "category_applied_input_types": {name: ["text"] for name in CATEGORIES},
    }
