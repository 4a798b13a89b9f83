"""The one place where an upstream's usage becomes ours: disjoint buckets of tokens that can be priced one by one.

Upstreams count differently (OpenAI counts cached input inside the input, Anthropic beside it), and some report nonsense. Each wire format
has one Struct here that reads its usage and one function that turns it into `Usage`; all of them end in `_plausible`, so that no format
can let a number through that would move a balance the wrong way. A usage that is absent or physically impossible is None: then the caller
counts for itself, and flags the charge.

OpenAI's usage: https://platform.openai.com/docs/api-reference/chat/object#chat/object-usage
DeepSeek's cache hits: https://api-docs.deepseek.com/guides/kv_cache
xAI's reasoning: https://docs.x.ai/docs/key-information/consumption-and-rate-limits
"""

from typing import Annotated, Any

import msgspec

UNKNOWN_LIMIT = 10_000_000
"""The cap on a side whose limit is not known, in tokens: ten times the largest context on the market."""

# 2^53: the largest integer that every JSON implementation keeps exactly. The Structs refuse what is negative, fractional, a string or
# larger.
_Tokens = Annotated[int, msgspec.Meta(ge=0, le=2**53)]


class Usage(msgspec.Struct, frozen=True, omit_defaults=True):
    """What one answer consumed, in disjoint buckets: tokens, except `tool_calls` and `requests`, which are calls.

    No bucket is ever negative.
    """

    input: int = 0
    cached: int = 0
    cache_write_5m: int = 0
    cache_write_1h: int = 0
    output: int = 0
    reasoning: int = 0
    audio_in: int = 0
    audio_out: int = 0
    image_in: int = 0
    image_out: int = 0
    tool_calls: int = 0
    requests: int = 1

    @property
    def total_input(self) -> int:
        """All tokens that went in, cached or not, of every kind."""
        return self.input + self.cached + self.cache_write_5m + self.cache_write_1h + self.audio_in + self.image_in

    @property
    def total_output(self) -> int:
        """All tokens that came out, shown or hidden, of every kind."""
        return self.output + self.reasoning + self.audio_out + self.image_out


class _OpenAIInputDetails(msgspec.Struct):
    cached_tokens: _Tokens | None = None
    audio_tokens: _Tokens | None = None


class _OpenAIOutputDetails(msgspec.Struct):
    reasoning_tokens: _Tokens | None = None
    audio_tokens: _Tokens | None = None


class _OpenAIUsage(msgspec.Struct):
    prompt_tokens: _Tokens | None = None
    completion_tokens: _Tokens | None = None
    total_tokens: _Tokens | None = None
    prompt_tokens_details: _OpenAIInputDetails | None = None
    completion_tokens_details: _OpenAIOutputDetails | None = None
    prompt_cache_hit_tokens: _Tokens | None = None  # DeepSeek's name for cached input, beside OpenAI's


_decode_openai = msgspec.json.Decoder(_OpenAIUsage | None).decode
_NO_INPUT_DETAILS = _OpenAIInputDetails()
_NO_OUTPUT_DETAILS = _OpenAIOutputDetails()


def normalise_openai(raw: bytes | msgspec.Raw | dict[str, Any], *, context: int, output_limit: int) -> Usage | None:
    """The usage object of a chat, completion or embedding answer as disjoint buckets.

    `context` and `output_limit` are the model's limits in tokens, 0 where unknown. None where the usage is absent (also all zeros, or no
    count of one side while the total says there was one) or impossible: negative, fractional, not a number, above 2^53, a part larger
    than its whole, or above the model's limits.
    """
    try:
        said = msgspec.convert(raw, _OpenAIUsage | None) if isinstance(raw, dict) else _decode_openai(raw)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
    if said is None or not said.prompt_tokens:
        return None  # every request has input: a zero is a placeholder, not a count
    prompt = said.prompt_tokens
    completion = said.completion_tokens
    if completion is None:
        if said.total_tokens is not None and said.total_tokens > prompt:
            return None
        completion = 0  # embeddings have no completion
    into = said.prompt_tokens_details or _NO_INPUT_DETAILS
    out = said.completion_tokens_details or _NO_OUTPUT_DETAILS
    cached = into.cached_tokens if into.cached_tokens is not None else said.prompt_cache_hit_tokens or 0
    audio_in = into.audio_tokens or 0
    reasoning = out.reasoning_tokens or 0
    if reasoning and said.total_tokens == prompt + completion + reasoning:
        completion += reasoning  # xAI counts reasoning beside the completion, and its total says so
    audio_out = out.audio_tokens or 0
    if cached > prompt or audio_in > prompt or reasoning + audio_out > completion:
        return None
    # Cached audio stands in both details: what overlaps is counted as cached, once.
    audio_in = min(audio_in, prompt - cached)
    usage = Usage(
        input=prompt - cached - audio_in,
        cached=cached,
        output=completion - reasoning - audio_out,
        reasoning=reasoning,
        audio_in=audio_in,
        audio_out=audio_out,
    )
    return _plausible(usage, context, output_limit)


def _plausible(usage: Usage, context: int, output_limit: int) -> Usage | None:
    """The usage, unless it is above what the model can take or give."""
    if usage.total_input > (context or UNKNOWN_LIMIT) or usage.total_output > (output_limit or UNKNOWN_LIMIT):
        return None
    return usage
