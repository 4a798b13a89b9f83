"""What is done to tokens: issued, revoked, found by name or id. Control plane.

A key is `sk-` and 48 random letters and digits. It is found by its SHA-256, and kept encrypted for its owner unless REVEAL_KEYS is off.
"""

import ipaddress
from collections.abc import Sequence
from datetime import datetime

from django.conf import settings
from django.core.exceptions import ValidationError
from django.db import transaction
from django.utils.translation import gettext as _

from accounts.encryption import digest, random_text
from accounts.models import Group, User
from billing.acts import transfer_limit
from billing.models import Kind, LimitChange
from billing.wallets import make_limit
from gateway.models import Token

KEY_LENGTH = 48
HINT_LENGTH = 4


def issue_token(
    user: User,
    name: str,
    *,
    limit_nano: int | None = None,
    unlimited: bool = False,
    models: Sequence[str] = (),
    subnets: Sequence[str] = (),
    group: Group | None = None,
    expires_at: datetime | None = None,
) -> tuple[Token, str]:
    """A new token and its key. `limit_nano` is what it may spend in all, in nano-dollars; it has one, or it is unlimited.

    ValidationError for a name that the user has used already, a subnet that is none, or neither or both of limit and unlimited;
    ValueError for a limit out of range.
    """
    if unlimited == (limit_nano is not None):
        raise ValidationError(_("A token has a limit, or it is unlimited."))
    key = f"sk-{random_text(KEY_LENGTH)}"
    token = Token(
        user=user,
        name=name.strip(),
        key=key if settings.REVEAL_KEYS else "",
        key_hash=digest(key),
        hint=key[-HINT_LENGTH:],
        unlimited=unlimited,
        allowed_models=sorted({model.strip() for model in models if model.strip()}),
        allowed_subnets=[checked_subnet(subnet) for subnet in subnets],
        group=group,
        expires_at=expires_at,
    )
    token.full_clean(exclude=["key", "key_hash", "hint"])
    with transaction.atomic():
        token.save()
        if limit_nano is not None:
            make_limit(Kind.TOKEN, token.pk, limit_nano)
    return token, key


def checked_subnet(text: str) -> str:
    """An address or network in its usual writing. ValidationError for anything else."""
    try:
        return str(ipaddress.ip_network(text.strip(), strict=False))
    except ValueError:
        raise ValidationError(_("“%(subnet)s” is no address or network such as 10.0.0.0/8.") % {"subnet": text[:60]}) from None


def revoke_token(token: Token) -> None:
    """Its key stops working in every relay process within a second."""
    Token.objects.filter(pk=token.pk).update(enabled=False)
    token.enabled = False


def enable_token(token: Token) -> None:
    """Its key works again, likewise; of a token that was deleted it does not."""
    Token.objects.filter(pk=token.pk).update(enabled=True)
    token.enabled = True


def transfer(source: Token, target: Token, amount_nano: int, *, author: User | None, reason: str, reference: str) -> LimitChange:
    """Moves a part of a token's limit to another token of the same user. ValueError (its text is a sentence): see `transfer_limit`, tokens of
    two users, or one that is unlimited."""
    if source.user_id != target.user_id:
        raise ValueError(_("A limit is moved between tokens of the same user."))
    if source.unlimited or target.unlimited:
        raise ValueError(_("An unlimited token has no limit that could be moved."))
    return transfer_limit(source.pk, target.pk, amount_nano, author=author, reason=reason, reference=reference)


def find_token(name_or_id: str, user: User | None = None) -> Token:
    """A token by its id, or by its name where only one user has that (or `user` does). Token.DoesNotExist, Token.MultipleObjectsReturned."""
    tokens = Token.objects.filter(deleted_at__isnull=True)
    if user is not None:
        tokens = tokens.filter(user=user)
    named = tokens.filter(name=name_or_id)
    if not named.exists() and name_or_id.isascii() and name_or_id.isdigit():
        return tokens.get(pk=int(name_or_id))
    return named.get()
