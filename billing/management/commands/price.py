"""`manage.py price set|list`. Amounts on the command line are US dollars per million tokens."""

from argparse import ArgumentParser
from typing import Any, ClassVar

from accounts.operator import OperatorCommand, OperatorError, Output, table
from billing.models import ModelPrice
from billing.models.price import BUCKETS
from billing.money import format_usd, parse_usd

OPTIONAL = tuple(name for name in BUCKETS if name not in {"input", "output"})
EACH = ("per_request", "per_tool_call")  # US dollars each
LIMITS = ("context_limit", "output_limit")  # tokens


class Command(OperatorCommand):
    help = "Model prices: set, list. US dollars per million tokens."
    verbs: ClassVar[dict[str, str]] = {
        "set": "Set prices of a model; what is not named stays as it is. A new model needs --input and --output.",
        "list": "List prices.",
    }

    def arguments_set(self, parser: ArgumentParser) -> None:
        parser.add_argument("--model", required=True, metavar="M")
        for name in BUCKETS:
            parser.add_argument(f"--{name.replace('_', '-')}", metavar="USD", help="US dollars per million tokens")
        for name in EACH:
            parser.add_argument(f"--{name.replace('_', '-')}", metavar="USD", help="US dollars each")
        for name in LIMITS:
            parser.add_argument(f"--{name.replace('_', '-')}", type=int, metavar="TOKENS")

    def arguments_list(self, parser: ArgumentParser) -> None:
        parser.add_argument("--model", metavar="M", help="only this one")

    def set(self, options: dict[str, Any]) -> Output:
        given: dict[str, Any] = {name: parse_usd(options[name]) for name in (*BUCKETS, *EACH) if options[name] is not None}
        given |= {name: options[name] for name in LIMITS if options[name] is not None}
        if any(value < 0 for value in given.values()):
            raise OperatorError("A price cannot be negative.")
        price = ModelPrice.objects.filter(model=options["model"]).first() or ModelPrice(model=options["model"])
        if price.pk is None and not {"input", "output"} <= given.keys():
            raise OperatorError(f"{options['model']} has no price yet: give --input and --output.")
        for name, value in {**given, "source": ModelPrice.Source.OPERATOR, "source_date": None}.items():
            setattr(price, name, value)
        price.full_clean()
        price.save()
        return Output(described(price), [f"{price.model}: {format_usd(price.input)} in, {format_usd(price.output)} out (USD per million tokens)"])

    def list(self, options: dict[str, Any]) -> Output:
        prices = ModelPrice.objects.order_by("model")
        if options["model"]:
            prices = prices.filter(model=options["model"])
            if not prices:
                raise OperatorError(f"{options['model']} has no price.")
        return table([described(price) for price in prices], ("model", "input", "cached", "output", "per_request", "source", "source_date"))


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
