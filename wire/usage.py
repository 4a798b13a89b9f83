"""The one place where an upstream's usage becomes ours: disjoint buckets of tokens that can be priced one by one.

Upstreams count differently (OpenAI and Gemini count cached input inside the input, Anthropic beside it; Gemini counts thoughts beside the
answer, OpenAI inside it), gateways mix the names, and some report nonsense. `normalise` reads every name that is in use, decides by them how
the parts lie to their wholes, and ends in `_plausible`, so that no format can let a number through that would move a balance the wrong way.
A usage that is absent or physically impossible is None: then the caller counts for itself, and flags the charge.

    OpenAI's chat: https://platform.openai.com/docs/api-reference/chat/object#chat/object-usage
    its Responses and images: https://platform.openai.com/docs/api-reference/responses/object#responses/object-usage
    Anthropic's: https://docs.anthropic.com/en/api/messages#response-usage
    Gemini's: https://ai.google.dev/api/generate-content#UsageMetadata
    cache hits by DeepSeek: https://api-docs.deepseek.com/guides/kv_cache
    cache writes by OpenRouter: https://openrouter.ai/docs/use-cases/usage-accounting, by LiteLLM: https://docs.litellm.ai/docs/completion/prompt_caching
    reasoning by xAI: https://docs.x.ai/docs/key-information/consumption-and-rate-limits
"""

from typing import Annotated, Any

import msgspec

UNKNOWN_LIMIT = 10_000_000
"""The cap on a side whose limit is not known, in tokens: ten times the largest context on the market."""

TOOL_CALLS_LIMIT = 1_000
"""The most calls of an upstream's own tools in one answer that are believed."""

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


class _Writes(msgspec.Struct):
    """Cache writes by their life: Anthropic's `cache_creation`."""

    ephemeral_5m_input_tokens: _Tokens | None = None
    ephemeral_1h_input_tokens: _Tokens | None = None


class _Parts(msgspec.Struct):
    """The details of an input or an output, by OpenAI and those who speak like it."""

    cached_tokens: _Tokens | None = None
    audio_tokens: _Tokens | None = None
    image_tokens: _Tokens | None = None
    reasoning_tokens: _Tokens | None = None
    cache_write_tokens: _Tokens | None = None  # OpenRouter
    cache_creation_tokens: _Tokens | None = None  # LiteLLM
    cache_creation_token_details: _Writes | None = None  # LiteLLM


class _ServerTools(msgspec.Struct):
    web_search_requests: _Tokens | None = None  # Anthropic; fetching pages costs tokens alone


class _Modality(msgspec.Struct, rename="camel"):
    modality: str = ""
    token_count: _Tokens | None = None


class _Said(msgspec.Struct):
    """Every name that a count has somewhere."""

    prompt_tokens: _Tokens | None = None
    completion_tokens: _Tokens | None = None
    total_tokens: _Tokens | None = None
    prompt_tokens_details: _Parts | None = None
    completion_tokens_details: _Parts | None = None
    prompt_cache_hit_tokens: _Tokens | None = None  # DeepSeek

    input_tokens: _Tokens | None = None
    output_tokens: _Tokens | None = None
    input_tokens_details: _Parts | None = None
    output_tokens_details: _Parts | None = None

    cache_read_input_tokens: _Tokens | None = None
    cache_creation_input_tokens: _Tokens | None = None
    cache_creation: _Writes | None = None
    server_tool_use: _ServerTools | None = None

    prompt_count: _Tokens | None = msgspec.field(default=None, name="promptTokenCount")
    tool_prompt_count: _Tokens | None = msgspec.field(default=None, name="toolUsePromptTokenCount")
    cached_count: _Tokens | None = msgspec.field(default=None, name="cachedContentTokenCount")
    candidates_count: _Tokens | None = msgspec.field(default=None, name="candidatesTokenCount")
    thoughts_count: _Tokens | None = msgspec.field(default=None, name="thoughtsTokenCount")
    total_count: _Tokens | None = msgspec.field(default=None, name="totalTokenCount")
    prompt_modalities: list[_Modality] | None = msgspec.field(default=None, name="promptTokensDetails")
    candidates_modalities: list[_Modality] | None = msgspec.field(default=None, name="candidatesTokensDetails")


_decode = msgspec.json.Decoder(_Said | None).decode
_NO_PARTS = _Parts()


def normalise(raw: bytes | msgspec.Raw | dict[str, Any], *, context: int, output_limit: int) -> Usage | None:
    """An upstream's usage object, of whatever format, as disjoint buckets.

    `context` and `output_limit` are the model's limits in tokens, 0 where unknown. None where the usage is absent (also all zeros, or no
    count of one side while the total says there was one) or impossible: negative, fractional, not a number, above 2^53, a part larger
    than its whole, or above the model's limits.
    """
    try:
        said = msgspec.convert(raw, _Said | None) if isinstance(raw, dict) else _decode(raw)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
    if said is None:
        return None
    usage = _read(said)
    return usage and _plausible(usage, context, output_limit)


def _read(said: _Said) -> Usage | None:
    """By the names that are there: a gateway that sends several formats at once leaves those that it does not mean at zero."""
    if said.prompt_tokens:
        return _inside(said, said.prompt_tokens, said.completion_tokens, said.prompt_tokens_details, said.completion_tokens_details)
    if said.prompt_count:
        return _gemini(said, said.prompt_count)
    if said.cache_read_input_tokens is not None or said.cache_creation_input_tokens is not None or said.cache_creation is not None:
        return _beside(said)
    if said.input_tokens:
        return _inside(said, said.input_tokens, said.output_tokens, said.input_tokens_details, said.output_tokens_details)
    return None  # every request has input: a zero is a placeholder, not a count


def _inside(said: _Said, into: int, out: int | None, input_parts: _Parts | None, output_parts: _Parts | None) -> Usage | None:
    """OpenAI's way: every part lies inside its whole."""
    if out is None:
        if said.total_tokens is not None and said.total_tokens > into:
            return None
        out = 0  # embeddings have no completion
    parts, shown = input_parts or _NO_PARTS, output_parts or _NO_PARTS
    cached = _first(parts.cached_tokens, said.prompt_cache_hit_tokens, said.cache_read_input_tokens) or 0
    total = _first(parts.cache_write_tokens, parts.cache_creation_tokens, said.cache_creation_input_tokens)
    writes = _written(total, parts.cache_creation_token_details or said.cache_creation)
    audio_in, image_in = parts.audio_tokens or 0, parts.image_tokens or 0
    reasoning, audio_out, image_out = shown.reasoning_tokens or 0, shown.audio_tokens or 0, shown.image_tokens or 0
    if reasoning and said.total_tokens == into + out + reasoning:
        out += reasoning  # xAI counts reasoning beside the completion, and its total says so
    if writes is None or cached + sum(writes) > into or audio_in + image_in > into or reasoning + audio_out + image_out > out:
        return None
    # Cached sound and pictures stand in both details: what overlaps is counted as cached, once.
    fresh = into - cached - sum(writes)
    audio_in = min(audio_in, fresh)
    image_in = min(image_in, fresh - audio_in)
    return Usage(
        input=fresh - audio_in - image_in,
        cached=cached,
        cache_write_5m=writes[0],
        cache_write_1h=writes[1],
        output=out - reasoning - audio_out - image_out,
        reasoning=reasoning,
        audio_in=audio_in,
        audio_out=audio_out,
        image_in=image_in,
        image_out=image_out,
        tool_calls=_searches(said),
    )


def _beside(said: _Said) -> Usage | None:
    """Anthropic's way: what was read from a cache or written to it is not in the input."""
    writes = _written(said.cache_creation_input_tokens, said.cache_creation)
    if writes is None or said.output_tokens is None:
        return None
    cached, fresh = said.cache_read_input_tokens or 0, said.input_tokens or 0
    if not fresh + cached + sum(writes):
        return None
    return Usage(
        input=fresh, cached=cached, cache_write_5m=writes[0], cache_write_1h=writes[1], output=said.output_tokens, tool_calls=_searches(said)
    )


def _gemini(said: _Said, prompt: int) -> Usage | None:
    """Google's way: the prompt holds what was cached, but not what its own tools read; thoughts are beside the candidates."""
    into = prompt + (said.tool_prompt_count or 0)
    thoughts, out = said.thoughts_count or 0, said.candidates_count or 0
    cached = said.cached_count or 0
    if said.candidates_count is None and said.total_count is not None and said.total_count > into + thoughts:
        return None
    if thoughts and thoughts <= out and said.total_count == into + out:
        out -= thoughts  # the total says that the candidates hold them
    audio_in, image_in = _of(said.prompt_modalities, "AUDIO"), _of(said.prompt_modalities, "IMAGE")
    audio_out, image_out = _of(said.candidates_modalities, "AUDIO"), _of(said.candidates_modalities, "IMAGE")
    if cached > prompt or audio_in + image_in > prompt or audio_out + image_out > out:
        return None
    audio_in = min(audio_in, into - cached)
    image_in = min(image_in, into - cached - audio_in)
    return Usage(
        input=into - cached - audio_in - image_in,
        cached=cached,
        output=out - audio_out - image_out,
        reasoning=thoughts,
        audio_in=audio_in,
        audio_out=audio_out,
        image_in=image_in,
        image_out=image_out,
    )


def _written(total: int | None, split: _Writes | None) -> tuple[int, int] | None:
    """Cache writes for five minutes and for an hour; of a total without a split all are for five minutes. None where they contradict."""
    short, long = (split.ephemeral_5m_input_tokens or 0, split.ephemeral_1h_input_tokens or 0) if split else (0, 0)
    if total is None:
        return short, long
    return None if short + long > total else (total - long, long)


def _searches(said: _Said) -> int:
    return (said.server_tool_use.web_search_requests or 0) if said.server_tool_use else 0


def _of(modalities: list[_Modality] | None, name: str) -> int:
    return sum(one.token_count or 0 for one in modalities or () if one.modality == name)


def _first(*counts: int | None) -> int | None:
    """The first count that is there."""
    return next((count for count in counts if count is not None), None)


def _plausible(usage: Usage, context: int, output_limit: int) -> Usage | None:
    """The usage, unless it is above what the model can take or give."""
    if usage.total_input > (context or UNKNOWN_LIMIT) or usage.total_output > (output_limit or UNKNOWN_LIMIT):
        return None
    return None if usage.tool_calls > TOOL_CALLS_LIMIT else usage
