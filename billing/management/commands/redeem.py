"""`manage.py redeem mint|list`."""

from argparse import ArgumentParser
from typing import Any, ClassVar

from accounts.operator import OperatorCommand, Output, moment, table
from billing.models import RedeemCode
from billing.money import format_usd, parse_usd
from billing.redeem import mint


class Command(OperatorCommand):
    help = "Redeem codes: mint, list."
    verbs: ClassVar[dict[str, str]] = {
        "mint": "Make codes; prints one a line, as card shops take them.",
        "list": "List codes; the codes themselves are only shown with --reveal.",
    }

    def arguments_mint(self, parser: ArgumentParser) -> None:
        parser.add_argument("--count", type=int, default=1, metavar="N")
        parser.add_argument("--usd", required=True, metavar="AMOUNT", help="what one code is worth")
        parser.add_argument("--batch", default="", metavar="NAME", help="to find them again")
        parser.add_argument("--expires", type=moment, metavar="TIME", help="ISO 8601")

    def arguments_list(self, parser: ArgumentParser) -> None:
        parser.add_argument("--batch", metavar="NAME", help="only these")
        parser.add_argument("--unused", action="store_true", help="only codes that nobody has redeemed")
        parser.add_argument("--reveal", action="store_true", help="with the codes")

    def mint(self, options: dict[str, Any]) -> Output:
        amount = parse_usd(options["usd"])
        codes = mint(options["count"], amount, batch=options["batch"], expires_at=options["expires"])
        return Output({"batch": options["batch"], "amount_nanodollars": amount, "codes": codes}, codes)

    def list(self, options: dict[str, Any]) -> Output:
        codes = RedeemCode.objects.select_related("redeemed_by").order_by("pk")
        if options["batch"] is not None:
            codes = codes.filter(batch=options["batch"])
        if options["unused"]:
            codes = codes.filter(redeemed_by__isnull=True)
        rows = [described(code, reveal=options["reveal"]) for code in codes.iterator()]
        return table(rows, ("id", "batch", "code", "usd", "enabled", "redeemed_by", "redeemed_at"))


def described(code: RedeemCode, *, reveal: bool) -> dict[str, Any]:
    """A code as JSON; unless revealed, only its end."""
    return {
        "id": code.pk,
        "batch": code.batch,
        "code": code.code if reveal else f"…{code.hint}",
        "usd": format_usd(code.amount),
        "amount_nanodollars": code.amount,
        "enabled": code.enabled,
        "expires_at": code.expires_at,
        "redeemed_by": code.redeemed_by.username if code.redeemed_by else None,
        "redeemed_at": code.redeemed_at,
    }
