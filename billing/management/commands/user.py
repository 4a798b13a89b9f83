"""`manage.py user add|list|credit|enable|disable`."""

from argparse import ArgumentParser
from typing import Any, ClassVar

from accounts.models import DEFAULT_GROUP, User
from accounts.operator import OperatorCommand, Output, table
from accounts.users import add_user, disable_user, enable_user, find_user
from billing.figures import with_figures
from billing.models import Kind
from billing.money import format_usd, parse_usd
from billing.wallets import balance_of, credit


def described(user: User, remaining: int, used: int) -> dict[str, Any]:
    """A user as JSON; amounts in nano-dollars, and as dollars for people."""
    return {
        "id": user.pk,
        "name": user.username,
        "group": user.group.name,
        "enabled": user.is_active,
        "unlimited": user.unlimited,
        "balance_nanodollars": remaining,
        "usd": format_usd(remaining),
        "used_usd": format_usd(used),
    }


class Command(OperatorCommand):
    help = "Users: add, list, credit, enable, disable."
    verbs: ClassVar[dict[str, str]] = {
        "add": "Add a user; prints the id.",
        "list": "List users with what they have left and have used.",
        "credit": "Put money into a user's wallet (a negative amount takes it out); prints the new balance in USD.",
        "enable": "Let a banned user in again.",
        "disable": "Ban a user: no sign-in, and no token of the user works within a second.",
    }

    def named(self, parser: ArgumentParser) -> None:
        """The argument that names a user."""
        parser.add_argument("--user", required=True, metavar="U", help="name or id")

    arguments_enable = arguments_disable = named

    def arguments_add(self, parser: ArgumentParser) -> None:
        parser.add_argument("--user", required=True, metavar="NAME")
        parser.add_argument("--password", help="without one the user cannot sign in; tokens work")
        parser.add_argument("--group", default=DEFAULT_GROUP)
        parser.add_argument("--email", default="")
        parser.add_argument("--unlimited", action="store_true", help="requests are recorded and priced, but no wallet is asked")

    def arguments_list(self, parser: ArgumentParser) -> None:
        parser.add_argument("--user", metavar="U", help="only this one")

    def arguments_credit(self, parser: ArgumentParser) -> None:
        self.named(parser)
        parser.add_argument("--usd", required=True, metavar="AMOUNT", help="US dollars, such as 10 or 2.50")
        parser.add_argument("--reason", default="")
        parser.add_argument("--idempotency-key", metavar="K", help="a second credit with the same key does nothing")

    def add(self, options: dict[str, Any]) -> Output:
        user = add_user(options["user"], options["password"], options["group"], email=options["email"], unlimited=options["unlimited"])
        return Output(described(user, 0, 0), [str(user.pk)])

    def list(self, options: dict[str, Any]) -> Output:
        users = User.objects.filter(deleted_at__isnull=True).select_related("group").order_by("pk")
        if options["user"]:
            users = users.filter(pk=find_user(options["user"]).pk)
        rows = [described(user, user.remaining, user.used) for user in with_figures(users, Kind.WALLET)]  # type: ignore[attr-defined]  # annotated
        return table(rows, ("id", "name", "group", "enabled", "unlimited", "usd", "used_usd"))

    def credit(self, options: dict[str, Any]) -> Output:
        user = find_user(options["user"])
        amount = parse_usd(options["usd"])
        entry = credit(user, amount, None, options["reason"] or "command line", options["idempotency_key"])
        left = balance_of(user)
        data = {"user": user.username, "entry": entry.pk, "amount_nanodollars": entry.amount, "balance_nanodollars": left, "usd": format_usd(left)}
        return Output(data, [format_usd(left)])

    def enable(self, options: dict[str, Any]) -> Output:
        user = find_user(options["user"])
        enable_user(user)
        return Output({"id": user.pk, "name": user.username, "enabled": True}, [f"{user.username} is enabled."])

    def disable(self, options: dict[str, Any]) -> Output:
        user = find_user(options["user"])
        disable_user(user)
        return Output({"id": user.pk, "name": user.username, "enabled": False}, [f"{user.username} is disabled."])
