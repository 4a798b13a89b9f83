"""`manage.py token add|list|revoke`."""

from argparse import ArgumentParser
from typing import Any, ClassVar

from accounts.operator import OperatorCommand, OperatorError, Output, moment, table, words
from accounts.users import find_group, find_user
from billing.figures import with_figures
from billing.models import Kind
from billing.money import format_usd, parse_usd
from gateway.models import Token
from gateway.tokens import find_token, issue_token, revoke_token


class Command(OperatorCommand):
    help = "Tokens (sk- keys of users): add, list, revoke."
    verbs: ClassVar[dict[str, str]] = {
        "add": "Issue a token; prints its key alone on a line.",
        "list": "List tokens; keys are not shown.",
        "revoke": "Revoke a token: its key stops working within a second, for good.",
    }

    def arguments_add(self, parser: ArgumentParser) -> None:
        parser.add_argument("--user", required=True, metavar="U", help="name or id")
        parser.add_argument("--name", required=True, help="unique among the user's tokens")
        money = parser.add_mutually_exclusive_group(required=True)
        money.add_argument("--usd", metavar="AMOUNT", help="may spend so much of its user's balance")
        money.add_argument("--unlimited", action="store_true", help="spends its user's balance without a limit of its own")
        parser.add_argument("--models", type=words, default=[], metavar="A,B", help="only these; default all of its group")
        parser.add_argument("--subnets", type=words, default=[], metavar="NET,NET", help="only from these; default from anywhere")
        parser.add_argument("--group", metavar="G", help="default: its user's")
        parser.add_argument("--expires", type=moment, metavar="TIME", help="ISO 8601")

    def arguments_list(self, parser: ArgumentParser) -> None:
        parser.add_argument("--user", metavar="U", help="only this user's")

    def arguments_revoke(self, parser: ArgumentParser) -> None:
        parser.add_argument("--token", required=True, metavar="T", help="name or id")
        parser.add_argument("--user", metavar="U", help="whose, where several users have a token of this name")

    def add(self, options: dict[str, Any]) -> Output:
        token, key = issue_token(
            find_user(options["user"]),
            options["name"],
            limit_nano=None if options["unlimited"] else parse_usd(options["usd"]),
            unlimited=options["unlimited"],
            models=options["models"],
            subnets=options["subnets"],
            group=find_group(options["group"]) if options["group"] else None,
            expires_at=options["expires"],
        )
        return Output({"id": token.pk, "name": token.name, "user": token.user.username, "key": key}, [key])

    def list(self, options: dict[str, Any]) -> Output:
        tokens = Token.objects.filter(deleted_at__isnull=True).select_related("user", "group").order_by("pk")
        if options["user"]:
            tokens = tokens.filter(user=find_user(options["user"]))
        rows = [described(token) for token in with_figures(tokens, Kind.TOKEN)]
        return table(rows, ("id", "user", "name", "ends_in", "enabled", "usd", "used_usd", "models", "expires_at"))

    def revoke(self, options: dict[str, Any]) -> Output:
        owner = find_user(options["user"]) if options["user"] else None
        try:
            token = find_token(options["token"], owner)
        except Token.DoesNotExist:
            raise OperatorError(f"There is no token {options['token']}.") from None
        except Token.MultipleObjectsReturned:
            raise OperatorError(f"Several users have a token {options['token']}: name one with --user, or give its id.") from None
        revoke_token(token)
        return Output({"id": token.pk, "name": token.name, "revoked": True}, [f"{token.name} is revoked."])


def described(token: Any) -> dict[str, Any]:
    """A token annotated with its figures, as JSON; `usd` is what is left of its limit, null without one."""
    return {
        "id": token.pk,
        "user": token.user.username,
        "name": token.name,
        "ends_in": token.hint,
        "enabled": token.enabled,
        "unlimited": token.unlimited,
        "usd": None if token.unlimited else format_usd(token.remaining),
        "used_usd": format_usd(token.used),
        "models": token.allowed_models,
        "subnets": token.allowed_subnets,
        "group": token.group.name if token.group else None,
        "expires_at": token.expires_at,
    }
