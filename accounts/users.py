"""What operators do to users: find, add, ban, let in again."""

from django.core.exceptions import ValidationError
from django.db import transaction

from accounts.models import DEFAULT_GROUP, Group, User


class UnknownName(ValueError):
    """Nobody, or nothing, has this name or id; the text is a sentence."""


def find_user(who: str) -> User:
    """The user of that name, else of that id. Raises UnknownName."""
    users = User.objects.filter(deleted_at__isnull=True)
    user = users.filter(username=who).first() or (users.filter(pk=int(who)).first() if _is_id(who) else None)
    if user is None:
        raise UnknownName(f"There is no user {who}.")
    return user


def find_group(name: str) -> Group:
    """The group of that name, else of that id. Raises UnknownName."""
    group = Group.objects.filter(name=name).first() or (Group.objects.filter(pk=int(name)).first() if _is_id(name) else None)
    if group is None:
        known = ", ".join(Group.objects.values_list("name", flat=True))
        raise UnknownName(f"There is no group {name}; there are: {known}.")
    return group


def _is_id(text: str) -> bool:
    return text.isascii() and text.isdigit() and len(text) < 19


def add_user(username: str, password: str | None, group: str = DEFAULT_GROUP, *, email: str = "", unlimited: bool = False) -> User:
    """A new user; without a password, one who cannot sign in until one is set. Raises ValidationError, UnknownName."""
    if User.objects.filter(username=username).exists():
        raise ValidationError(f"The user {username} exists already.")
    user = User(username=username, email=email, group=find_group(group), unlimited=unlimited)
    user.set_password(password)
    with transaction.atomic():
        user.full_clean()
        user.save()
    return user


def disable_user(user: User) -> None:
    """Bans: no sign-in, and every token of the user stops within a second. Harmless when repeated."""
    User.objects.filter(pk=user.pk).update(is_active=False)


def enable_user(user: User) -> None:
    """Lets a banned user in again."""
    User.objects.filter(pk=user.pk).update(is_active=True)
