"""The figures behind the compatible billing endpoints: a token's limit where it has one, else its user's wallet. ORM, in a thread."""

import asyncio

import structlog
from django.db import Error, close_old_connections

from billing.models import Kind
from billing.wallets import figures
from gateway.endpoints.billing_compat import Account
from gateway.keys import Caller
from wire.errors import Unavailable

log = structlog.get_logger(__name__)


class Figures:
    """Reads an Account for a caller. Raises Unavailable where the database is away."""

    async def __call__(self, caller: Caller) -> Account:
        try:
            return await asyncio.to_thread(_closing, caller)
        except Error as error:
            log.error("figures.database_away", error=str(error))
            raise Unavailable("The balance cannot be read at the moment. Try again in a few seconds.") from None


def _closing(caller: Caller) -> Account:
    """Leaves no connection behind in the thread, whatever came of it."""
    try:
        return account_of(caller)
    finally:
        close_old_connections()


def account_of(caller: Caller) -> Account:
    """What is left and what was used, in nano-dollars: of the token if it is limited, else of the user."""
    expires = int(caller.token.expires_at or 0)
    if not caller.token.unlimited:
        own = figures(Kind.TOKEN, caller.token.id)
        return Account(own.remaining, own.used, False, expires)
    wallet = figures(Kind.WALLET, caller.user.id)
    return Account(wallet.remaining, wallet.used, caller.user.unlimited, expires)
