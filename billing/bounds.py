"""The worst case of a request: more than it can honestly cost, so that what is set aside for it covers it. Pure.

One token per UTF-8 byte of the decoded text is the only bound that no input can beat (a tokenizer falls back to bytes; bytes / 3 can be
beaten); media are counted by tables of the vendors' documents; what cannot be seen here (a file's id, a stored response) counts as the
model's whole context. Where a real cost is above the bound after all, it is charged in full.
"""

from collections.abc import Sequence
from functools import lru_cache
from typing import NamedTuple

import msgspec

from billing.money import AMOUNT_LIMIT
from billing.pricing import MILLION, Price, Tier
from wire.peek import Head
from wire.textsize import TextSize
from wire.usage import TOOL_CALLS_LIMIT, Usage

TOKENS_PER_MESSAGE = 8
"""Around a message's text: its role and separators (OpenAI documents 3 or 4 a message and 3 for the answer's start)."""

AUDIO_BYTES_PER_TOKEN = 16
"""The lowest bit rate of MP3 is 8 kbit/s; OpenAI counts 10 tokens a second, Gemini 32 (https://ai.google.dev/gemini-api/docs/audio): 31
bytes a token, halved."""

TOOL_CALLS = 10
"""Calls of one of the upstream's own tools in one answer, where the request does not say how many it allows."""

_OF_THE_CLIENT = frozenset({None, "function", "custom"})  # tools whose calls come back to the client, and cost nothing but tokens


class _Tool(msgspec.Struct):
    type: str | None = None
    max_uses: int | None = None


class _ImageTokens(NamedTuple):
    """The most tokens that one image makes in models whose name starts with `prefix`, by the detail asked."""

    prefix: str
    low: int
    high: int


# OpenAI: base + tile × 8 (an image is shrunk to 2,048 × 768, eight tiles), or 1,536 patches times the model's factor (10,000 from gpt-5.4
# on): https://platform.openai.com/docs/guides/images-vision#calculating-costs. Claude: width × height / 750, at most 4,784 in the newest
# models: https://docs.claude.com/en/docs/build-with-claude/vision. Gemini: 258 a tile, or at most 2,240 by media_resolution:
# https://ai.google.dev/gemini-api/docs/media-resolution. The longest prefix decides.
_IMAGES = (
    _ImageTokens("gpt-4o-mini", 2_833, 48_169),
    _ImageTokens("gpt-4o", 85, 1_445),
    _ImageTokens("gpt-4.1", 3_779, 3_779),
    _ImageTokens("gpt-4", 85, 1_445),
    _ImageTokens("gpt-5", 24_600, 24_600),
    _ImageTokens("chatgpt-4o", 85, 1_445),
    _ImageTokens("o1", 75, 1_275),
    _ImageTokens("o3", 75, 1_275),
    _ImageTokens("claude", 4_784, 4_784),
    _ImageTokens("gemini", 4_128, 4_128),
)
# Of a model that the table does not know: Qwen-VL's limit, the largest documented (https://help.aliyun.com/zh/model-studio/vision).
_ANY_IMAGE = _ImageTokens("", 16_384, 16_384)


def image_tokens(model: str, detail: str) -> int:
    """The most tokens that one image of that detail (low, high, auto) makes in a model."""
    known = max((row for row in _IMAGES if model.startswith(row.prefix)), key=lambda row: len(row.prefix), default=_ANY_IMAGE)
    return known.low if detail == "low" else known.high


def allowed_tool_calls(head: Head) -> int:
    """How many calls of the upstream's own tools (web search and the like) a request allows for one answer.

    https://docs.anthropic.com/en/docs/agents-and-tools/tool-use/web-search-tool (`max_uses`),
    https://platform.openai.com/docs/guides/tools-web-search (`web_search_options`).
    """
    calls = TOOL_CALLS if memoryview(head.web_search_options) else 0
    if memoryview(head.tools):
        try:
            tools = msgspec.json.decode(head.tools, type=list[_Tool])
        except msgspec.DecodeError:
            return TOOL_CALLS_LIMIT  # no list of tools that we know: the upstream will say what it thinks of it
        for tool in tools:
            if tool.type not in _OF_THE_CLIENT:
                calls += TOOL_CALLS if tool.max_uses is None else max(0, tool.max_uses)
    return min(calls, TOOL_CALLS_LIMIT)


def worst_case(
    price: Price,
    size: TextSize,
    body_bytes: int,
    max_output: int | None,
    n: int = 1,
    *,
    default_context: int,
    default_max_output: int,
    model: str = "",
    prompts: int = 1,
    tool_calls: int = 0,
) -> Usage:
    """The largest usage that a request of that size can come to.

    `body_bytes` is the length of the decompressed body: the bound of a request in which nothing was found. `max_output` is what the request
    allows (None: nothing said), `n` how many answers it asks for, `prompts` how many inputs it has that are answered each for itself (a list
    of embeddings or completions: each may fill the context), `tool_calls` how many priced calls it allows. Price the result with
    `worst_amount`, not with `charge`: it says nothing of cache writes.
    """
    context = (price.context_limit or default_context) * prompts
    media = sum(image_tokens(model, detail) for detail in size.images)
    audio = -(-size.audio_bytes // AUDIO_BYTES_PER_TOKEN)
    found = size.bytes or size.messages or size.images
    text = size.bytes + TOKENS_PER_MESSAGE * size.messages if found else body_bytes
    if size.remote or size.files:  # what they hold may be pages as images; the context bounds all of it
        media = context
    # The dearer kinds fill the context first, or else the cut could hide them.
    audio = min(audio, context)
    media = min(media, context - audio)
    text = min(text, context - audio - media)
    limit = price.output_limit
    output = max_output if max_output is not None else default_max_output
    if limit is not None:
        output = min(output, limit)
    return Usage(input=text, audio_in=audio, image_in=media, output=output * n, tool_calls=tool_calls)


def without_output(worst: Usage) -> Usage:
    """The part of a worst case that is due even if the model says nothing: what the last cents of a balance must hold."""
    return msgspec.structs.replace(worst, output=0, reasoning=0, audio_out=0, image_out=0, tool_calls=0)


def worst_amount(prices: Sequence[tuple[Price, int]], worst: Usage) -> int:
    """The most, in nano-dollars, that any usage within `worst` costs at the dearest of the prices, each with its ratio in parts per
    million.

    Within: no more audio, no more images, no more input and no more output in all, whichever way they are split into buckets, and in
    whichever tier they fall.
    """
    return max((_dearest(price, ratio_ppm, worst) for price, ratio_ppm in prices), default=0)


class _Rates(NamedTuple):
    """The dearest prices that each kind of unit can come to, in nano-dollars per million."""

    text: int
    image: int
    audio: int
    output: int


@lru_cache(maxsize=8192)
def _rates(price: Price, tiers: tuple[Tier, ...]) -> _Rates:
    """Over the base price and the tiers that may be reached: the same for every request, so it is kept."""
    reachable: list[Tier | None] = [None, *tiers]

    def top(*buckets: str) -> int:
        return max(price.of(bucket, tier) for bucket in buckets for tier in reachable)

    text = top("input", "cached", "cache_write_5m", "cache_write_1h")
    image = max(text, top("image_in"))  # images and audio may also come back as plain input
    return _Rates(text, image, max(image, top("audio_in")), top("output", "reasoning", "audio_out", "image_out"))


def _dearest(price: Price, ratio_ppm: int, worst: Usage) -> int:
    tiers = tuple(tier for tier in price.tiers if worst.total_input > tier.above) if price.tiers else ()
    rates = _rates(price, tiers)
    text = worst.input + worst.cached + worst.cache_write_5m + worst.cache_write_1h
    tokens = text * rates.text + worst.image_in * rates.image + worst.audio_in * rates.audio + worst.total_output * rates.output
    fixed = worst.requests * price.per_request + worst.tool_calls * price.per_tool_call
    exact = (tokens + fixed * MILLION) * max(ratio_ppm, 0)
    return min(-(-exact // (MILLION * MILLION)), AMOUNT_LIMIT)
