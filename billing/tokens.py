"""Counts tokens offline, for the answers whose upstream sends no usable usage. What is counted here is marked as counted.

tiktoken would download its ranks; they lie in billing/data under the name that its cache gives them (the SHA-1 of their URL), and tiktoken
checks their SHA-256: https://github.com/openai/tiktoken/blob/main/tiktoken/load.py. o200k_base is the encoding of all current OpenAI models;
for other vendors' it is an estimate that is near enough for what it is used for. Loading takes 0.3 s and 90 MB, so it happens at the first use.

The count of a chat's frame is OpenAI's: https://github.com/openai/openai-cookbook/blob/main/examples/How_to_count_tokens_with_tiktoken.ipynb
"""

import asyncio
import functools
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import msgspec
import tiktoken

from billing.bounds import AUDIO_BYTES_PER_TOKEN, image_tokens
from wire.peek import Head
from wire.textsize import text_size

DATA = Path(__file__).parent / "data"
ENCODING = "o200k_base"
PER_MESSAGE = 3
PER_ANSWER = 3
FILE_TOKENS = 3_000
"""A document of some pages; what it really holds is not seen without reading it."""

THREAD_ABOVE = 64 * 1024
"""Characters above which counting leaves the event loop (5 ms)."""

# Longer pieces without a space take the encoder's regular expression beyond its stack; a cut changes the count by one at most.
_PIECE = 50_000
# Of a message only what the model reads counts: ids, types and addresses do not.
_NOT_READ = frozenset({"role", "type", "id", "tool_call_id", "detail", "format", "url", "image_url", "data", "file_data", "file_id", "index"})
_T = TypeVar("_T")

os.environ["TIKTOKEN_CACHE_DIR"] = str(DATA)


@functools.cache
def _encoding() -> tiktoken.Encoding:
    return tiktoken.get_encoding(ENCODING)


def count_text(text: str) -> int:
    """The number of o200k_base tokens of a text of any length; words like `<|endoftext|>` are plain text."""
    if not text:
        return 0
    encode = _encoding().encode_ordinary
    if len(text) <= _PIECE:
        return len(encode(text))
    return sum(len(encode(text[start : start + _PIECE])) for start in range(0, len(text), _PIECE))


def count_request(head: Head) -> int:
    """About how many input tokens a request has: its text counted, images and sound by their usual size. At least 1. BadRequest: see `text_size`."""
    size = text_size(head)
    total = sum(image_tokens(head.model or "", detail) for detail in size.images)
    total += size.audio_bytes // AUDIO_BYTES_PER_TOKEN + size.files * FILE_TOKENS
    if memoryview(head.messages):
        texts, _ = _read(head.messages, chat=True)
        total += PER_MESSAGE * size.messages + PER_ANSWER + sum(map(count_text, texts))
    for raw in (head.prompt, head.input):
        if memoryview(raw):
            texts, numbers = _read(raw, chat=False)
            total += numbers + sum(map(count_text, texts))
    for raw in (head.tools, head.functions, head.response_format):
        if memoryview(raw):
            total += count_text(bytes(raw).decode(errors="replace"))
    return max(total, 1)


async def off_loop(count: Callable[[_T], int], what: _T, characters: int) -> int:
    """`count(what)` without holding the event loop: in a thread where the text is long, or the ranks are not loaded yet."""
    if characters <= THREAD_ABOVE and _encoding.cache_info().currsize:
        return count(what)
    return await asyncio.to_thread(count, what)


def _read(raw: msgspec.Raw, *, chat: bool) -> tuple[list[str], int]:
    """The texts inside a JSON value, and how many whole numbers it has: in a prompt each is a token."""
    texts: list[str] = []
    numbers = 0
    waiting: list[Any] = [msgspec.json.decode(raw)]
    while waiting:
        value = waiting.pop()
        if isinstance(value, str):
            texts.append(value)
        elif isinstance(value, list):
            waiting.extend(value)
        elif isinstance(value, dict):
            waiting.extend(inner for name, inner in value.items() if name not in _NOT_READ)
        elif isinstance(value, int) and not isinstance(value, bool):
            numbers += 1
    return texts, 0 if chat else numbers
