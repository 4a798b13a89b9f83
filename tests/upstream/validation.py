"""Strict reading of requests, as OpenAI's reference describes them: https://platform.openai.com/docs/api-reference

A body is refused for unknown parameters, wrong types, values out of range, duplicate names and contradictions. `VENDOR` parameters are those of
well-known compatible servers (https://docs.vllm.ai/en/latest/serving/openai_compatible_server.html), which such a server takes.
"""

import json
import re
from collections.abc import Callable
from typing import Any

from tests.upstream.errors import ApiError

Check = Callable[[Any, str], None]
VENDOR = frozenset({"top_k", "min_p", "repetition_penalty", "chat_template_kwargs", "enable_thinking", "thinking", "x_vendor"})
ROLES = ("system", "assistant", "user", "function", "tool", "developer")
NAME = re.compile(r"^[a-zA-Z0-9_-]{1,64}$")


def parsed(body: bytes) -> dict[str, Any]:
    """The body as an object. ApiError where it is none."""
    try:
        found = json.loads(body.decode(), object_pairs_hook=_unique, parse_constant=_no_constant)
    except (ValueError, RecursionError):
        raise ApiError(
            400,
            "We could not parse the JSON body of your request. (HINT: This likely means you aren't using your HTTP library correctly. "
            "The OpenAI API expects a JSON payload, but what was sent was not valid JSON.)",
        ) from None
    if not isinstance(found, dict):
        raise ApiError(400, f"Invalid type for body: expected an object, but got {_kind(found)} instead.", code="invalid_type")
    return found


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a name stands there twice")
    return found


def _no_constant(name: str) -> None:
    raise ValueError(f"{name} is not JSON")


def _kind(value: Any) -> str:
    names = {bool: "a boolean", int: "an integer", float: "a decimal", str: "a string", list: "an array", dict: "an object", type(None): "null"}
    return names[type(value)]


def wrong_type(param: str, expected: str, value: Any) -> ApiError:
    return ApiError(400, f"Invalid type for '{param}': expected {expected}, but got {_kind(value)} instead.", param=param, code="invalid_type")


def missing(param: str) -> ApiError:
    return ApiError(400, f"Missing required parameter: '{param}'.", param=param, code="missing_required_parameter")


def number(low: float, high: float, *, whole: bool = False) -> Check:
    """A number between two bounds."""
    word = "integer" if whole else "decimal"

    def check(value: Any, param: str) -> None:
        if isinstance(value, bool) or not isinstance(value, int if whole else int | float):
            raise wrong_type(param, f"{'an' if whole else 'a'} {word}", value)
        if value > high:
            text = f"Invalid '{param}': {word} above maximum value. Expected a value <= {high:g}, but got {value} instead."
            raise ApiError(400, text, param=param, code=f"{word}_above_max_value")
        if value < low:
            text = f"Invalid '{param}': {word} below minimum value. Expected a value >= {low:g}, but got {value} instead."
            raise ApiError(400, text, param=param, code=f"{word}_below_min_value")

    return check


def of_type(expected: str, *types: type) -> Check:
    """A value of one of these types."""

    def check(value: Any, param: str) -> None:
        if type(value) not in types:
            raise wrong_type(param, expected, value)

    return check


def one_of(*values: str) -> Check:
    """One of these texts."""

    def check(value: Any, param: str) -> None:
        text(value, param)
        if value not in values:
            *some, last = [f"'{known}'" for known in values]
            listed = f"{', '.join(some)}, and {last}" if some else last
            raise ApiError(400, f"Invalid value: '{value}'. Supported values are: {listed}.", param=param, code="invalid_value")

    return check


text = of_type("a string", str)
flag = of_type("a boolean", bool)
mapping = of_type("an object", dict)
array = of_type("an array", list)
integer = of_type("an integer", int)


def stop(value: Any, param: str) -> None:
    of_type("one of a string or an array of strings", str, list)(value, param)
    if isinstance(value, list):
        if len(value) > 4:
            shown = f"Invalid '{param}': array too long. Expected an array with maximum length 4, but got an array with length {len(value)} instead."
            raise ApiError(400, shown, param=param, code="array_above_max_length")
        for index, item in enumerate(value):
            text(item, f"{param}[{index}]")


def stream_options(value: Any, param: str) -> None:
    mapping(value, param)
    for name, item in value.items():
        if name not in {"include_usage", "include_obfuscation"}:
            raise ApiError(400, f"Unknown parameter: '{param}.{name}'.", param=f"{param}.{name}", code="unknown_parameter")
        flag(item, f"{param}.{name}")


def tools(value: Any, param: str) -> None:
    array(value, param)
    if not value:
        raise ApiError(400, f"Invalid '{param}': empty array. Expected an array with minimum length 1, but got an empty array instead.",
                       param=param, code="empty_array")  # fmt: skip
    for index, tool in enumerate(value):
        place = f"{param}[{index}]"
        mapping(tool, place)
        one_of("function", "custom")(tool.get("type"), f"{place}.type")
        function = tool.get(tool["type"])
        if function is None:
            raise missing(f"{place}.{tool['type']}")
        mapping(function, f"{place}.{tool['type']}")
        if "name" not in function:
            raise missing(f"{place}.function.name")
        if not isinstance(function["name"], str) or not NAME.match(function["name"]):
            raise ApiError(400, f"Invalid '{place}.function.name': string does not match pattern. Expected a string that matches the pattern "
                           "'^[a-zA-Z0-9_-]+$'.", param=f"{place}.function.name", code="invalid_value")  # fmt: skip
        if function.get("parameters") is not None:
            mapping(function["parameters"], f"{place}.function.parameters")


def response_format(value: Any, param: str) -> None:
    mapping(value, param)
    if "type" not in value:
        raise missing(f"{param}.type")
    one_of("text", "json_object", "json_schema")(value["type"], f"{param}.type")
    if value["type"] == "json_schema":
        if "json_schema" not in value:
            raise missing(f"{param}.json_schema")
        mapping(value["json_schema"], f"{param}.json_schema")
        if "name" not in value["json_schema"]:
            raise missing(f"{param}.json_schema.name")


def messages(value: Any, param: str) -> None:
    array(value, param)
    if not value:
        shown = f"Invalid '{param}': empty array. Expected an array with minimum length 1, but got an empty array instead."
        raise ApiError(400, shown, param=param, code="empty_array")
    asked: set[str] = set()
    for index, message in enumerate(value):
        place = f"{param}[{index}]"
        mapping(message, place)
        if "role" not in message:
            raise missing(f"{place}.role")
        one_of(*ROLES)(message["role"], f"{place}.role")
        if message["role"] == "tool" and message.get("tool_call_id") not in asked:
            shown = "Invalid parameter: messages with role 'tool' must be a response to a preceeding message with 'tool_calls'."
            raise ApiError(400, shown, param=f"{place}.role")
        calls = message.get("tool_calls") or []
        asked = asked | {call["id"] for call in calls} if message["role"] in {"assistant", "tool"} else set()
        _content(message, place, required=not (calls or message.get("function_call") or message.get("refusal")))


def _content(message: dict[str, Any], place: str, *, required: bool) -> None:
    content = message.get("content")
    if content is None:
        if required:
            shown = f"Invalid value for 'content': expected a string, got null. ({place}.content)"
            raise missing(f"{place}.content") if "content" not in message else ApiError(400, shown, param=f"{place}.content")
        return
    of_type("one of a string or array of objects", str, list)(content, f"{place}.content")
    if isinstance(content, list):
        for index, part in enumerate(content):
            _part(part, f"{place}.content[{index}]")


def _part(part: Any, place: str) -> None:
    mapping(part, place)
    if "type" not in part:
        raise missing(f"{place}.type")
    one_of("text", "image_url", "input_audio", "refusal", "audio", "file")(part["type"], f"{place}.type")
    kind = part["type"]
    if kind not in part:
        raise missing(f"{place}.{kind}")
    (text if kind in {"text", "refusal"} else mapping)(part[kind], f"{place}.{kind}")
    if kind == "image_url":
        if "url" not in part[kind]:
            raise missing(f"{place}.image_url.url")
        text(part[kind]["url"], f"{place}.image_url.url")
        if not part[kind]["url"].startswith(("http://", "https://", "data:")):
            raise ApiError(400, "Invalid 'image_url'. Expected a valid URL.", param=f"{place}.image_url.url", code="invalid_value")


def prompt(value: Any, param: str) -> None:
    """A string, strings, tokens, or arrays of tokens."""
    of_type("one of a string or array", str, list)(value, param)
    if isinstance(value, list):
        kinds = {type(item) for item in value}
        if not value or len(kinds) != 1 or kinds - {str, int, list}:
            raise ApiError(400, f"Invalid '{param}': expected strings, tokens, or arrays of tokens.", param=param, code="invalid_value")
        if kinds == {list} and not all(item and all(type(token) is int for token in item) for item in value):
            raise ApiError(400, f"Invalid '{param}': expected arrays of tokens.", param=param, code="invalid_value")


def moderated(value: Any, param: str) -> None:
    of_type("one of a string or array", str, list)(value, param)
    for index, part in enumerate(value if isinstance(value, list) else ()):
        if not isinstance(part, str):
            _part(part, f"{param}[{index}]")


BOTH: dict[str, Check] = {
    "model": text, "temperature": number(0, 2), "top_p": number(0, 1), "n": number(1, 128, whole=True), "stream": flag,
    "stream_options": stream_options, "stop": stop, "max_tokens": number(1, 2**31, whole=True), "presence_penalty": number(-2, 2),
    "frequency_penalty": number(-2, 2), "logit_bias": mapping, "user": text, "seed": integer,
}  # fmt: skip
PARAMETERS: dict[str, dict[str, Check]] = {
    "chat/completions": {
        **BOTH, "messages": messages, "max_completion_tokens": number(1, 2**31, whole=True), "logprobs": flag,
        "top_logprobs": number(0, 20, whole=True), "tools": tools, "tool_choice": of_type("one of a string or an object", str, dict),
        "parallel_tool_calls": flag, "response_format": response_format, "functions": array,
        "function_call": of_type("one of a string or an object", str, dict),
        "reasoning_effort": one_of("none", "minimal", "low", "medium", "high", "xhigh"), "verbosity": one_of("low", "medium", "high"),
        "modalities": array, "audio": mapping, "prediction": mapping, "service_tier": text, "store": flag, "metadata": mapping,
        "safety_identifier": text, "prompt_cache_key": text, "prompt_cache_retention": text, "web_search_options": mapping,
    },
    "completions": {
        **BOTH, "prompt": prompt, "best_of": number(0, 20, whole=True), "echo": flag, "logprobs": number(0, 5, whole=True), "suffix": text,
    },
    "embeddings": {
        "model": text, "input": prompt, "encoding_format": one_of("float", "base64"), "dimensions": number(1, 10_000, whole=True), "user": text,
    },
    "moderations": {"model": text, "input": moderated},
}  # fmt: skip
REQUIRED = {
    "chat/completions": ("model", "messages"),
    "completions": ("model", "prompt"),
    "embeddings": ("model", "input"),
    "moderations": ("input",),
}


def check(path: str, ask: dict[str, Any]) -> None:
    """Raises ApiError for what the real API refuses."""
    known = PARAMETERS[path]
    for name in REQUIRED[path]:
        if ask.get(name) is None:
            if name == "model":
                raise ApiError(400, "you must provide a model parameter")
            raise missing(name)
    for name, value in ask.items():
        if name in known:
            if value is not None:
                known[name](value, name)
        elif name not in VENDOR:
            raise ApiError(400, f"Unrecognized request argument supplied: {name}")
    _contradictions(ask)


def _contradictions(ask: dict[str, Any]) -> None:
    if ask.get("stream_options") is not None and not ask.get("stream"):
        raise ApiError(400, "The 'stream_options' parameter is only allowed when 'stream' is enabled.", param="stream_options")
    if ask.get("max_tokens") is not None and ask.get("max_completion_tokens") is not None:
        raise ApiError(
            400, "Setting 'max_tokens' and 'max_completion_tokens' at the same time is not supported.", code="invalid_parameter_combination"
        )
    if ask.get("best_of") and ask["best_of"] < (ask.get("n") or 1):
        raise ApiError(400, "best_of must be greater than or equal to n", param="best_of")
    if ask.get("tool_choice") is not None and not ask.get("tools"):
        raise ApiError(400, "Invalid value for 'tool_choice': 'tool_choice' is only allowed when 'tools' are specified.", param="tool_choice")
    if ask.get("top_logprobs") is not None and not ask.get("logprobs"):
        raise ApiError(400, "The 'top_logprobs' parameter is only allowed when 'logprobs' is enabled.", param="top_logprobs")
    wants_json = (ask.get("response_format") or {}).get("type") == "json_object"
    if wants_json and "json" not in json.dumps(ask["messages"]).lower():
        shown = "'messages' must contain the word 'json' in some form, to use 'response_format' of type 'json_object'."
        raise ApiError(400, shown, param="messages")
