"""`manage.py budget set|list`: what users and tokens may spend in a day, a week and a month."""

from argparse import ArgumentParser
from collections.abc import Iterable
from typing import Any, ClassVar

from accounts.models import User
from accounts.operator import OperatorCommand, OperatorError, Output, table
from accounts.users import find_user
from billing.budgets import set_budgets, standings
from billing.models import Budget
from billing.money import format_usd, parse_usd
from billing.periods import PERIODS, owner_of
from gateway.management.commands.money import token
from gateway.models import Token

NONE = "none"


class Command(OperatorCommand):
    help = "Budgets of users and tokens by day, week and month: set, list."
    verbs: ClassVar[dict[str, str]] = {
        "set": "Set budgets of a user or a token, from the next request on; prints them.",
        "list": "List budgets with what was used of them and when they begin anew.",
    }

    def named(self, parser: ArgumentParser) -> None:
        """The arguments that name a user or a token."""
        parser.add_argument("--user", metavar="U", help="name or id; with --token: whose it is")
        parser.add_argument("--token", metavar="T", help="name or id")

    arguments_list = named

    def arguments_set(self, parser: ArgumentParser) -> None:
        self.named(parser)
        for period in PERIODS:
            parser.add_argument(f"--{period}", metavar="USD", help=f"US dollars a {period}, or '{NONE}' for no budget; left out: as it is")

    def set(self, options: dict[str, Any]) -> Output:
        owner, row = chosen(options)
        wanted = {period: None if options[period] == NONE else parse_usd(options[period]) for period in PERIODS if options[period] is not None}
        if not wanted:
            raise OperatorError("Say what to set: --day, --week or --month.")
        set_budgets(owner, row.pk, wanted, reason="command line")
        return shown(described(owner, row))

    def list(self, options: dict[str, Any]) -> Output:
        if options["user"] or options["token"]:
            return shown(described(*chosen(options)))
        return shown(line for owner, row in everybody() for line in described(owner, row))


def chosen(options: dict[str, Any]) -> tuple[str, User | Token]:
    """Whose budgets are meant. OperatorError."""
    user = find_user(options["user"]) if options["user"] else None
    if options["token"]:
        return "token", token(options["token"], user)
    if user is None:
        raise OperatorError("Name a user with --user, or a token with --token.")
    return "user", user


def everybody() -> Iterable[tuple[str, User | Token]]:
    """Who has budgets: users first, by id."""
    found = {(owner_of(kind), subject) for kind, subject in Budget.objects.values_list("kind", "subject")}
    users = User.objects.in_bulk([subject for owner, subject in found if owner == "user"])
    tokens = Token.objects.select_related("user").in_bulk([subject for owner, subject in found if owner == "token"])
    yield from (("user", users[identity]) for identity in sorted(users))
    yield from (("token", tokens[identity]) for identity in sorted(tokens))


def described(owner: str, row: User | Token) -> Iterable[dict[str, Any]]:
    """A row a budget; amounts in nano-dollars, and as dollars for people."""
    for standing in standings(owner, row.pk):
        yield {
            "of": owner,
            "id": row.pk,
            "name": row.name if isinstance(row, Token) else row.username,
            "user": row.user.username if isinstance(row, Token) else row.username,
            "period": standing.period,
            "usd": format_usd(standing.limit),
            "used_usd": format_usd(standing.used),
            "remaining_nanodollars": standing.remaining,
            "ends": standing.ends,
        }


def shown(rows: Iterable[dict[str, Any]]) -> Output:
    """The rows as a table."""
    return table(list(rows), ("of", "id", "name", "user", "period", "usd", "used_usd", "ends"))
