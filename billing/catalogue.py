"""Fills the price table from two lists: the catalogue of the package genai-prices, and ours of Chinese providers (data/prices_cn.toml).

The same model stands at many providers there, at different prices. A plain name gets the price of the model's own maker; what only hosts offer
gets the first host's; our list stands between the two. Prices that operators have set are never touched.
Importing genai_prices takes 111 MB: only the command load_prices imports this module, never a process that serves requests.
https://github.com/pydantic/genai-prices
"""

import datetime
import functools
import tomllib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from decimal import ROUND_HALF_UP, Decimal
from pathlib import Path
from typing import Any

from django.db import transaction
from django.utils import timezone
from genai_prices.data import providers as genai_providers
from genai_prices.types import (
    ClauseEquals,
    ClauseOr,
    ModelInfo,
    StartDateConstraint,
    TieredPrices,
    TimeOfDateConstraint,
)
from genai_prices.types import ModelPrice as GenaiPrice
from genai_prices.types import Provider as GenaiProvider

from billing.models import ModelPrice
from billing.models.price import BUCKETS
from billing.money import AMOUNT_LIMIT, NANO

CHINA = Path(__file__).parent / "data" / "prices_cn.toml"
NAMES = CHINA.parent / "model_names.txt"
CHUNK = 400
"""Rows a transaction: nobody waits long for SQLite's only write lock."""

MAKERS = (
    "openai", "anthropic", "google", "mistral", "deepseek", "x-ai", "cohere", "meta", "perplexity", "moonshotai", "zhipuai", "zai", "minimax",
    "voyageai", "arcee",
)  # fmt: skip
HOSTS = ("aws", "azure", "groq", "together", "fireworks", "cerebras", "novita", "cloudflare", "databricks", "ovhcloud", "openrouter")
"""Whose price a model has that no maker sells itself; the providers not named here come after them."""

# Prices inside a subscription are not what a token costs.
_NOT_LISTS = frozenset({"cursor", "github-copilot"})

# Their prices per million tokens -> our buckets. Cached audio and images cost what cached text costs there, or nearly.
_PER_MILLION = {
    "input_mtok": "input",
    "cache_read_mtok": "cached",
    "cache_write_mtok": "cache_write_5m",
    "cache_write_5m_mtok": "cache_write_5m",
    "cache_write_1h_mtok": "cache_write_1h",
    "output_mtok": "output",
    "output_reasoning_mtok": "reasoning",
    "input_audio_mtok": "audio_in",
    "output_audio_mtok": "audio_out",
    "input_image_mtok": "image_in",
    "output_image_mtok": "image_out",
}
_PER_THOUSAND = {"requests_kcount": "per_request", "web_searches_kcount": "per_tool_call"}

FREE = ("omni-moderation-latest", "omni-moderation-2024-09-26", "text-moderation-latest", "text-moderation-stable", "text-moderation-007")
"""Free of charge at their maker: https://platform.openai.com/docs/guides/moderation"""

ECHO = "echo"
"""The built-in provider's model. Its price is made once, as an operator's: whoever changes it keeps it so."""


@dataclass(frozen=True, slots=True)
class Entry:
    """The price of one model name, before it is a row; amounts are nano-dollars (per million tokens, or each)."""

    model: str
    prices: dict[str, int]
    tiers: tuple[dict[str, int], ...] = ()
    context_limit: int | None = None
    output_limit: int | None = None
    source: str = ModelPrice.Source.CATALOGUE
    source_date: datetime.date | None = None

    def values(self) -> dict[str, Any]:
        """All columns that a price list decides; a bucket without a price is None."""
        return {
            **{bucket: self.prices.get(bucket) for bucket in BUCKETS},
            "per_request": self.prices.get("per_request", 0),
            "per_tool_call": self.prices.get("per_tool_call", 0),
            "tiers": list(self.tiers),
            "context_limit": self.context_limit,
            "output_limit": self.output_limit,
            "source": str(self.source),
            "source_date": self.source_date,
        }


@dataclass(frozen=True, slots=True)
class Loaded:
    """What a load did: rows made, rows changed, rows that were right already, and prices of operators left alone."""

    created: int
    changed: int
    unchanged: int
    kept: int


def catalogue(now: datetime.datetime | None = None) -> dict[str, Entry]:
    """Every model name that has a price, with the price that wins."""
    now = now or timezone.now()
    known = {provider.id: provider for provider in genai_providers}
    makers = [known[slug] for slug in MAKERS if slug in known]
    hosts = [known[slug] for slug in HOSTS if slug in known]
    hosts += [provider for provider in genai_providers if provider.id not in {*MAKERS, *HOSTS, *_NOT_LISTS}]
    entries: dict[str, Entry] = {}
    for entry in (
        *_own_names(makers, now),
        *_chinese(),
        *_recognised_names([*makers, known["aws"]], now),
        *_dated_names(makers, hosts, now),
        *_own_names(hosts, now),
        *(Entry(name, {"input": 0, "output": 0}, source_date=_catalogue_date()) for name in FREE),
    ):
        entries.setdefault(entry.model, entry)
    return entries


def load(entries: Iterable[Entry]) -> Loaded:
    """Writes them into the price table in chunks: new rows, and changes of rows that came from a list. Safe to repeat, and beside a server."""
    wanted = {entry.model: entry for entry in entries}
    counts = [0, 0, 0, 0]
    names = sorted(wanted)
    for start in range(0, len(names), CHUNK):
        for index, count in enumerate(_load_chunk([wanted[name] for name in names[start : start + CHUNK]])):
            counts[index] += count
    ModelPrice.objects.get_or_create(
        model=ECHO, defaults={"input": 15 * NANO // 100, "output": 60 * NANO // 100, "source": ModelPrice.Source.OPERATOR}
    )
    return Loaded(*counts)


def _load_chunk(entries: list[Entry]) -> tuple[int, int, int, int]:
    with transaction.atomic():
        rows = {row.model: row for row in ModelPrice.objects.select_for_update().filter(model__in=[entry.model for entry in entries])}
        missing, changed, kept = [], [], 0
        for entry in entries:
            row = rows.get(entry.model)
            values = entry.values()
            if row is None:
                missing.append(ModelPrice(model=entry.model, **values))
            elif row.source == ModelPrice.Source.OPERATOR:
                kept += 1
            elif any(getattr(row, name) != value for name, value in values.items()):
                for name, value in values.items():
                    setattr(row, name, value)
                row.updated_at = timezone.now()
                changed.append(row)
        # Whoever adds one of these names meanwhile, wins: a conflict is not an update.
        ModelPrice.objects.bulk_create(missing, ignore_conflicts=True)
        if changed:
            ModelPrice.objects.bulk_update(changed, [*Entry("", {}).values(), "updated_at"])
    return len(missing), len(changed), len(entries) - len(missing) - len(changed) - kept, kept


def _own_names(providers: list[GenaiProvider], now: datetime.datetime) -> Iterator[Entry]:
    """The ids of the providers' models, and the other names that they list for them."""
    for provider in providers:
        for model in provider.models:
            entry = _entry(model, now)
            if entry is not None:
                for name in dict.fromkeys((model.id, model.id.lower(), *_equal_names(model.match))):
                    yield replace(entry, model=name[:200])


def _dated_names(makers: list[GenaiProvider], hosts: list[GenaiProvider], now: datetime.datetime) -> Iterator[Entry]:
    """Plain names that only hosts spell out (`openai/gpt-4o-2024-08-06`), at their maker's price where his rules recognise them."""
    by_id = {provider.id: provider for provider in makers}
    for host in hosts:
        for model in host.models:
            for name in (model.id, *_equal_names(model.match)):
                vendor, slash, plain = name.rpartition("/")
                maker = by_id.get({"meta-llama": "meta", "mistralai": "mistral", "z-ai": "zai"}.get(vendor, vendor))
                if not slash or maker is None or ":" in plain:
                    continue
                found = maker.find_model(plain)
                entry = _entry(found, now) if found else None
                if entry is not None:
                    yield replace(entry, model=plain[:200])


def _recognised_names(providers: list[GenaiProvider], now: datetime.datetime) -> Iterator[Entry]:
    """The names of our list, at the price of the first provider whose rules recognise them. Only AWS names a vendor before a dot."""
    for line in NAMES.read_text(encoding="utf-8").splitlines():
        name = line.strip()
        if not name or name.startswith("#"):
            continue
        found = next((model for provider in providers if (model := provider.find_model(name))), None)
        entry = _entry(found, now) if found else None
        if entry is not None:
            yield replace(entry, model=name)


def _equal_names(match: Any) -> Iterator[str]:
    if isinstance(match, ClauseEquals):
        yield match.equals
    elif isinstance(match, ClauseOr):
        for clause in match.or_:
            yield from _equal_names(clause)


def _entry(model: ModelInfo, now: datetime.datetime) -> Entry | None:
    """A model's price; None where it is not sold by the token, or given away without being called free."""
    price = _dearest_hour(model, now)
    prices: dict[str, int] = {}
    tiered: dict[str, TieredPrices] = {}
    for key, value in vars(price).items():
        bucket = _PER_MILLION.get(key)
        if value is None:
            continue
        if bucket is not None:
            if isinstance(value, TieredPrices):
                tiered[bucket] = value
            prices[bucket] = _nano(value.base if isinstance(value, TieredPrices) else value)
        elif key in _PER_THOUSAND and isinstance(value, Decimal):
            prices[_PER_THOUSAND[key]] = _nano(value / 1000)
    if "input" not in prices or any(amount > AMOUNT_LIMIT or amount < 0 for amount in prices.values()):
        return None
    prices.setdefault("output", max((prices.get(bucket, 0) for bucket in ("image_out", "audio_out")), default=0))
    if "cache_write_5m" in prices:
        prices.setdefault("cache_write_1h", prices["cache_write_5m"])
    if not any(prices.values()) and not model.id.endswith(":free"):
        return None
    tiers = _tiers(tiered)
    context = model.context_window
    if not context or any(tier["above"] >= context for tier in tiers):
        context = None  # a window that its own tiers exceed is an older model's
    return Entry(model.id, prices, tiers, context, source_date=_catalogue_date())


def _dearest_hour(model: ModelInfo, now: datetime.datetime) -> GenaiPrice:
    """Today's price. Some vendors are cheaper at night; a table without hours takes the dearer one, whenever it is loaded."""
    if isinstance(model.prices, GenaiPrice) or not any(isinstance(one.constraint, TimeOfDateConstraint) for one in model.prices):
        return model.get_prices(now)

    def level(price: GenaiPrice) -> Decimal:
        flat = (getattr(price, key, None) for key in ("input_mtok", "output_mtok"))
        return sum((value.base if isinstance(value, TieredPrices) else value for value in flat if value is not None), Decimal(0))

    midnight = now.replace(hour=0, minute=0, second=0, microsecond=0)
    return max((model.get_prices(midnight + datetime.timedelta(minutes=30 * step)) for step in range(48)), key=level)


def _tiers(tiered: dict[str, TieredPrices]) -> tuple[dict[str, int], ...]:
    """One tier for each threshold, with all buckets that change at it or below."""
    starts = sorted({tier.start for price in tiered.values() for tier in price.tiers})
    tiers = []
    for start in starts:
        reached = {
            bucket: _nano(next((tier.price for tier in reversed(price.tiers) if tier.start <= start), price.base)) for bucket, price in tiered.items()
        }
        tiers.append({"above": start, **reached})
    return tuple(tiers)


def _chinese() -> Iterator[Entry]:
    listed = tomllib.loads(CHINA.read_text(encoding="utf-8"))
    for provider in listed["provider"]:
        rate = Decimal(1) if provider["currency"] == "USD" else 1 / Decimal(listed["cny_per_usd"])
        for model in provider["models"]:
            yield Entry(
                model["name"],
                {bucket: _nano(Decimal(model[bucket]) * rate) for bucket in BUCKETS if bucket in model},
                tuple(
                    {name: value if name == "above" else _nano(Decimal(value) * rate) for name, value in tier.items()}
                    for tier in model.get("tiers", ())
                ),
                model.get("context"),
                source=ModelPrice.Source.CHINA,
                source_date=provider["date"],
            )


def _nano(usd: Decimal) -> int:
    """Dollars as whole nano-dollars; only a converted currency has something to round."""
    return int((usd * NANO).to_integral_value(ROUND_HALF_UP))


@functools.cache
def _catalogue_date() -> datetime.date | None:
    """How new the installed catalogue is: its latest change of a price. It says no date of its own."""
    changes = (
        one.constraint.start_date
        for provider in genai_providers
        for model in provider.models
        if not isinstance(model.prices, GenaiPrice)
        for one in model.prices
        if isinstance(one.constraint, StartDateConstraint)
    )
    today = timezone.now().date()
    return max((start for start in changes if start <= today), default=None)
