"""`manage.py money credit|debit|refund|transfer|write-off|statement`: acts on money, each done once a reference, and what they made of it."""

import uuid
from argparse import ArgumentParser
from typing import Any, ClassVar

from accounts.models import User
from accounts.operator import OperatorCommand, OperatorError, Output, moment
from accounts.users import find_user
from billing import acts, wallets
from billing.csv_cells import BOM
from billing.models import Balance, Kind, LedgerEntry
from billing.money import format_usd, parse_usd
from billing.statement import Filters, Line, Period, closing, every_line
from billing.statement_view import chunks
from gateway import tokens
from gateway.models import Token


class Command(OperatorCommand):
    help = "Acts on money: credit, debit, refund, transfer, write-off, each done once a reference; and statements."
    verbs: ClassVar[dict[str, str]] = {
        "credit": "Put money into a user's wallet.",
        "debit": "Take money out of a user's wallet, never more than is there.",
        "refund": "Give a charge, or a part of it, back to the wallet that paid it.",
        "transfer": "Move a part of a token's limit to another token of the same user.",
        "write-off": "Bring a wallet that is below zero to zero.",
        "statement": "Every change of a wallet or of a token's limit, with the balance after each.",
    }

    def explained(self, parser: ArgumentParser) -> None:
        """The arguments of every act."""
        parser.add_argument("--reference", required=True, metavar="R", help="a second act with the same reference does nothing")
        parser.add_argument("--reason", required=True, metavar="TEXT", help="kept with the act; of a wallet's its user sees it")
        parser.add_argument("--author", metavar="U", help="who does it, by name or id; default: nobody, the command line")

    def arguments_credit(self, parser: ArgumentParser) -> None:
        parser.add_argument("--user", required=True, metavar="U", help="name or id")
        parser.add_argument("--usd", required=True, metavar="AMOUNT", help="US dollars, such as 10 or 2.50")
        self.explained(parser)

    arguments_debit = arguments_credit

    def arguments_refund(self, parser: ArgumentParser) -> None:
        parser.add_argument("--charge", required=True, type=uuid.UUID, metavar="ID", help="the request's id in the usage log")
        parser.add_argument("--usd", metavar="AMOUNT", help="a part; default: all that was not given back yet")
        self.explained(parser)

    def arguments_transfer(self, parser: ArgumentParser) -> None:
        parser.add_argument("--from", required=True, dest="source", metavar="T", help="name or id")
        parser.add_argument("--to", required=True, dest="target", metavar="T", help="name or id")
        parser.add_argument("--usd", required=True, metavar="AMOUNT", help="US dollars")
        parser.add_argument("--user", metavar="U", help="whose, where several users have tokens of these names")
        self.explained(parser)

    def arguments_write_off(self, parser: ArgumentParser) -> None:
        parser.add_argument("--user", required=True, metavar="U", help="name or id")
        self.explained(parser)

    def arguments_statement(self, parser: ArgumentParser) -> None:
        parser.add_argument("--user", required=True, metavar="U", help="name or id")
        parser.add_argument("--token", metavar="T", help="name or id: the statement of its limit")
        parser.add_argument("--from", dest="start", type=moment, metavar="TIME", help="the first moment, by ISO 8601")
        parser.add_argument("--to", dest="end", type=moment, metavar="TIME", help="the moment before which it ends")
        parser.add_argument("--csv", action="store_true", help="print CSV")

    def credit(self, options: dict[str, Any]) -> Output:
        return self.moved(options, positive(options["usd"]), LedgerEntry.Act.TOP_UP)

    def debit(self, options: dict[str, Any]) -> Output:
        return self.moved(options, -positive(options["usd"]), LedgerEntry.Act.ADJUSTMENT)

    def moved(self, options: dict[str, Any], amount: int, act: str) -> Output:
        """A credit, or with less than nothing a debit."""
        reference = acts.checked_reference(options["reference"])
        return told(wallets.credit(find_user(options["user"]), amount, author(options), options["reason"], reference, act))

    def refund(self, options: dict[str, Any]) -> Output:
        amount = None if options["usd"] is None else positive(options["usd"])
        return told(acts.refund(options["charge"], amount, **explanation(options)))

    def write_off(self, options: dict[str, Any]) -> Output:
        return told(acts.write_off(find_user(options["user"]), **explanation(options)))

    def transfer(self, options: dict[str, Any]) -> Output:
        owner = find_user(options["user"]) if options["user"] else None
        source, target = token(options["source"], owner), token(options["target"], owner)
        change = tokens.transfer(source, target, positive(options["usd"]), **explanation(options))
        left = {name: wallets.figures(Kind.TOKEN, one.pk).remaining for name, one in (("from", source), ("to", target))}
        data = {
            "change": change.pk,
            "act": change.act,
            "from": source.pk,
            "to": target.pk,
            "amount_nanodollars": change.amount,
            "reference": change.reference,
            "repeated": change.repeated,
            "from_usd": format_usd(left["from"]),
            "to_usd": format_usd(left["to"]),
        }
        return Output(data, [f"{format_usd(left['from'])} {format_usd(left['to'])}"])

    def statement(self, options: dict[str, Any]) -> Output:
        owner = find_user(options["user"])
        one = token(options["token"], owner) if options["token"] else None
        kind, subject = (Kind.TOKEN, one.pk) if one else (Kind.WALLET, owner.pk)
        balance = Balance.objects.filter(kind=kind, subject=subject, period="").first()
        if balance is None and one:
            raise OperatorError(f"The token {one.name} never had a limit.")
        period = Period(options["start"], options["end"])
        if options["csv"]:
            return Output(None, (text.removeprefix(BOM).rstrip("\r\n") for text in chunks(balance, period, Filters(), inside=True)))
        lines = every_line(balance, period, Filters()) if balance else iter(())
        if not options["json"]:
            return Output(None, map(as_text, lines))
        opening, end = closing(balance, period) if balance else (0, 0)
        data = {"opening_nanodollars": opening, "closing_nanodollars": end, "lines": [as_json(line) for line in lines]}
        return Output(data)


def as_text(line: Line) -> str:
    """A line for people: time, kind, amount, balance, and what for."""
    return (
        f"{line.at:%Y-%m-%dT%H:%M:%SZ}  {line.kind:<10}  {format_usd(line.amount):>16}  {format_usd(line.balance):>16}  {line.model or line.reason}"
    )


def as_json(line: Line) -> dict[str, Any]:
    """A line for scripts."""
    return {
        "at": line.at,
        "kind": line.kind,
        "amount_nanodollars": line.amount,
        "balance_nanodollars": line.balance,
        "model": line.model,
        "token": line.token_id,
        "charge": str(line.charge) if line.charge else None,
        "author": line.author_id,
        "reason": line.reason,
        "reference": line.reference,
    }


def told(entry: LedgerEntry) -> Output:
    """An act on a wallet with what is in it now; for people the balance alone, as `user credit` prints it."""
    left = wallets.figures(Kind.WALLET, entry.balance.subject).remaining
    data = {
        "entry": entry.pk,
        "act": entry.act,
        "user": entry.balance.subject,
        "charge": str(entry.charge) if entry.charge else None,
        "amount_nanodollars": entry.amount,
        "reference": entry.idempotency_key,
        "repeated": entry.repeated,
        "balance_nanodollars": left,
        "usd": format_usd(left),
    }
    return Output(data, [format_usd(left)])


def explanation(options: dict[str, Any]) -> dict[str, Any]:
    """What every act is told besides its amount."""
    return {"author": author(options), "reason": options["reason"], "reference": options["reference"]}


def author(options: dict[str, Any]) -> User | None:
    """Who does it; None for the command line."""
    return find_user(options["author"]) if options["author"] else None


def positive(text: str) -> int:
    """Dollars above nothing as nano-dollars. OperatorError."""
    amount = parse_usd(text)
    if amount <= 0:
        raise OperatorError("The amount must be more than nothing.")
    return amount


def token(name: str, owner: User | None) -> Token:
    """A token by name or id. OperatorError where there is none, or several."""
    try:
        return tokens.find_token(name, owner)
    except Token.DoesNotExist:
        raise OperatorError(f"There is no token {name}.") from None
    except Token.MultipleObjectsReturned:
        raise OperatorError(f"Several users have a token {name}: name one with --user, or give its id.") from None
