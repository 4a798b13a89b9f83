"""`manage.py price set|list|rules|drop|calculate`. Amounts on the command line are US dollars per million tokens."""

from argparse import ArgumentParser
from decimal import Decimal, InvalidOperation
from typing import Any, ClassVar

from django.utils import timezone

from accounts.models import Group
from accounts.operator import OperatorCommand, OperatorError, Output, moment, table
from billing.models import ModelPrice, PriceRule
from billing.models.price import BUCKETS
from billing.money import format_usd, parse_usd
from billing.price_list import book_of
from billing.pricing import MILLION
from billing.quote import UNITS, quote_inside, usage_of
from channels_app.channels import find_channel
from channels_app.models import Channel

OPTIONAL = tuple(name for name in BUCKETS if name not in {"input", "output"})
EACH = ("per_request", "per_tool_call")  # US dollars each
LIMITS = ("context_limit", "output_limit")  # tokens


class Command(OperatorCommand):
    help = "Model prices and the rules beside them. US dollars per million tokens."
    verbs: ClassVar[dict[str, str]] = {
        "set": "Set prices of a model; with --group, --channel, --cost, --from or --ratio as a rule beside the list.",
        "list": "List prices.",
        "rules": "List the rules beside the price list.",
        "drop": "Remove a rule that has not begun yet.",
        "calculate": "What a request would cost, and what the upstream would ask.",
    }

    def arguments_set(self, parser: ArgumentParser) -> None:
        parser.add_argument("--model", required=True, metavar="M")
        for name in BUCKETS:
            parser.add_argument(f"--{name.replace('_', '-')}", metavar="USD", help="US dollars per million tokens")
        for name in EACH:
            parser.add_argument(f"--{name.replace('_', '-')}", metavar="USD", help="US dollars each")
        for name in LIMITS:
            parser.add_argument(f"--{name.replace('_', '-')}", type=int, metavar="TOKENS")
        parser.add_argument("--group", metavar="G", help="a rule for this group only")
        parser.add_argument("--channel", metavar="C", help="a rule for this channel only, by name or id")
        parser.add_argument("--cost", action="store_true", help="a rule for what the upstream asks of you, not for what callers pay")
        parser.add_argument("--from", dest="start", type=moment, metavar="TIME", help="a rule that begins then, by ISO 8601")
        parser.add_argument("--ratio", metavar="PERCENT", help="a rule that is a part of the list price, such as 80")
        parser.add_argument("--note", default="", metavar="TEXT", help="kept with the rule")

    def arguments_list(self, parser: ArgumentParser) -> None:
        parser.add_argument("--model", metavar="M", help="only this one")

    arguments_rules = arguments_list

    def arguments_drop(self, parser: ArgumentParser) -> None:
        parser.add_argument("--rule", required=True, type=int, metavar="ID")

    def arguments_calculate(self, parser: ArgumentParser) -> None:
        parser.add_argument("--model", required=True, metavar="M")
        parser.add_argument("--group", default="default", metavar="G", help="who asks; default: the group default")
        parser.add_argument("--channel", metavar="C", help="who serves, by name or id; default: rules for channels are left out")
        parser.add_argument("--at", type=moment, metavar="TIME", help="when, by ISO 8601; default: now")
        for name in UNITS:
            parser.add_argument(f"--{name.replace('_', '-')}", metavar="N", help="calls" if name in {"requests", "tool_calls"} else "tokens")

    def set(self, options: dict[str, Any]) -> Output:
        given: dict[str, Any] = {name: parse_usd(options[name]) for name in (*BUCKETS, *EACH) if options[name] is not None}
        given |= {name: options[name] for name in LIMITS if options[name] is not None}
        if any(value < 0 for value in given.values()):
            raise OperatorError("A price cannot be negative.")
        if any(options[name] for name in ("group", "channel", "cost", "start", "ratio")):
            return self.add_rule(options, given)
        price = ModelPrice.objects.filter(model=options["model"]).first() or ModelPrice(model=options["model"])
        if price.pk is None and not {"input", "output"} <= given.keys():
            raise OperatorError(f"{options['model']} has no price yet: give --input and --output.")
        for name, value in {**given, "source": ModelPrice.Source.OPERATOR, "source_date": None}.items():
            setattr(price, name, value)
        price.full_clean()
        price.save()
        return Output(described(price), [f"{price.model}: {format_usd(price.input)} in, {format_usd(price.output)} out (USD per million tokens)"])

    def add_rule(self, options: dict[str, Any], given: dict[str, Any]) -> Output:
        """A rule with prices of its own, or with a ratio to the list's."""
        if any(name in given for name in LIMITS):
            raise OperatorError("A model's limits stand in the list, not in a rule.")
        if options["ratio"] is None and not {"input", "output"} <= given.keys():
            raise OperatorError("A rule has prices of its own (--input and --output, and others), or a --ratio to the list's.")
        if options["ratio"] is not None and given:
            raise OperatorError("A rule has prices of its own, or a --ratio to the list's, not both.")
        if options["cost"] and options["group"]:
            raise OperatorError("What an upstream asks does not depend on the caller's group.")
        rule = PriceRule(
            side=PriceRule.Side.COST if options["cost"] else PriceRule.Side.CHARGE,
            model="" if options["model"] == "*" else options["model"],
            group=group_named(options["group"]) if options["group"] else None,
            channel_id=channel_named(options["channel"]).pk if options["channel"] else None,
            starts_at=max(options["start"] or timezone.now(), timezone.now()),
            ratio_ppm=None if options["ratio"] is None else ppm(options["ratio"]),
            note=options["note"],
            **given,
        )
        if not rule.model and rule.ratio_ppm is None:
            raise OperatorError("A rule for all models is a --ratio to the list.")
        rule.full_clean()
        rule.save()
        return Output(described_rule(rule), [str(rule.pk)])

    def rules(self, options: dict[str, Any]) -> Output:
        rules = PriceRule.objects.select_related("group").order_by("model", "side", "starts_at", "id")
        if options["model"]:
            rules = rules.filter(model__in=(options["model"], ""))
        return table(
            [described_rule(rule) for rule in rules], ("id", "side", "model", "group", "channel", "from", "ratio_percent", "input", "output", "note")
        )

    def drop(self, options: dict[str, Any]) -> Output:
        removed, _ = PriceRule.objects.filter(pk=options["rule"], starts_at__gt=timezone.now()).delete()
        if not removed:
            raise OperatorError("There is no rule of this id that has not begun yet. One that has begun is ended by a newer rule.")
        return Output({"rule": options["rule"], "dropped": True}, [str(options["rule"])])

    def calculate(self, options: dict[str, Any]) -> Output:
        usage = usage_of({name: options[name] for name in UNITS})
        model, group = options["model"], group_named(options["group"])
        channel = channel_named(options["channel"]) if options["channel"] else None
        mapped = channel.mapping.get(model, model) if channel else model
        now = (options["at"] or timezone.now()).timestamp()
        terms = book_of(model, mapped).terms(model, mapped, group.name, group.ratio_ppm, channel.pk if channel else 0, now)
        if terms is None:
            raise OperatorError(f"{model} has no price.")
        quoted = quote_inside(terms, usage)
        lines = [f"{line['bucket']}: {line['units']} x {format_usd(line['price'])} / {line['per']} = {line['usd']}" for line in quoted["lines"]]
        return Output(
            {"model": model, "model_served": mapped, "group": group.name, "channel": channel.pk if channel else None, **quoted},
            [
                *lines,
                f"ratio {Decimal(quoted['ratio_ppm']) / MILLION}: {quoted['usd']} USD; upstream {quoted['cost_usd']}, {quoted['margin_usd']} left",
            ],
        )

    def list(self, options: dict[str, Any]) -> Output:
        prices = ModelPrice.objects.order_by("model")
        if options["model"]:
            prices = prices.filter(model=options["model"])
            if not prices:
                raise OperatorError(f"{options['model']} has no price.")
        return table([described(price) for price in prices], ("model", "input", "cached", "output", "per_request", "source", "source_date"))


def group_named(name: str) -> Group:
    """OperatorError where there is none."""
    group = Group.objects.filter(name=name).first()
    if group is None:
        raise OperatorError(f"There is no group {name}.")
    return group


def channel_named(name: str) -> Channel:
    """By name or id. OperatorError where there is none."""
    try:
        return find_channel(name)
    except Channel.DoesNotExist:
        raise OperatorError(f"There is no channel {name}.") from None


def ppm(percent: str) -> int:
    """Per cent as parts per million. OperatorError."""
    try:
        parts = Decimal(percent.removesuffix("%")) * 10_000
    except InvalidOperation:
        parts = Decimal("NaN")
    if not parts.is_finite() or parts != int(parts) or not 0 <= parts <= 1000 * MILLION:
        raise OperatorError("A ratio is a number of per cent between 0 and 100,000, with at most 4 decimals.")
    return int(parts)


def described_rule(rule: PriceRule) -> dict[str, Any]:
    """A rule as JSON: US dollars as decimal text, per cent as decimal text; null and "" are all of them."""
    amounts = {name: getattr(rule, name) for name in (*BUCKETS, *EACH)}
    return {
        "id": rule.pk,
        "side": str(rule.side),
        "model": rule.model,
        "group": rule.group.name if rule.group else None,
        "channel": rule.channel_id,
        "from": rule.starts_at.isoformat(timespec="seconds"),
        "ratio_percent": None if rule.ratio_ppm is None else f"{(Decimal(rule.ratio_ppm) / 10_000).normalize():f}",
        **{name: None if value is None else format_usd(value) for name, value in amounts.items()},
        "tiers": rule.tiers,
        "note": rule.note,
    }


def described(price: ModelPrice) -> dict[str, Any]:
    """A price as JSON: US dollars as decimal text, null where the bucket costs what its parent costs."""
    amounts = {name: getattr(price, name) for name in (*BUCKETS, *EACH)}
    return {
        "model": price.model,
        **{name: None if value is None else format_usd(value) for name, value in amounts.items()},
        "tiers": price.tiers,
        "context_limit": price.context_limit,
        "output_limit": price.output_limit,
        "source": price.source,
        "source_date": price.source_date,
    }
