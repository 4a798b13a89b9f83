"""Who may act on whom: staff act on lower ranks only, so that a stolen staff account cannot climb (docs/security.md 8).

superuser > staff > user. Reading is a matter of permissions; changing somebody, their wallet or their tokens also asks this module.
"""

from enum import IntEnum

from django.contrib.auth.models import AbstractBaseUser, AnonymousUser
from django.core.exceptions import PermissionDenied
from django.db.models import Q
from django.http import HttpRequest

from accounts.models import User


class Rank(IntEnum):
    """How high a person stands."""

    NOBODY = 0
    USER = 1
    STAFF = 2
    SUPERUSER = 3


def rank_of(person: AbstractBaseUser | AnonymousUser) -> Rank:
    """The rank of a user; anonymous and banned ones have none."""
    if not isinstance(person, User) or not person.is_active:
        return Rank.NOBODY
    return nominal_rank(person)


def nominal_rank(user: User) -> Rank:
    """The rank by its flags alone: a banned superuser is still no prey of staff."""
    if user.is_superuser:
        return Rank.SUPERUSER
    return Rank.STAFF if user.is_staff else Rank.USER


def acting(request: HttpRequest) -> User:
    """Who sends this request. PermissionDenied for nobody."""
    if not isinstance(request.user, User):
        raise PermissionDenied
    return request.user


def may_act_on(actor: AbstractBaseUser | AnonymousUser, target: User) -> bool:
    """Whether `actor` may change `target`: someone of a lower rank, or, for a superuser, himself."""
    if rank_of(actor) == Rank.SUPERUSER and actor.pk == target.pk:
        return True
    return rank_of(actor) > nominal_rank(target)


def within_reach(actor: AbstractBaseUser | AnonymousUser) -> Q:
    """The users that `may_act_on` allows, as a condition on User."""
    rank = rank_of(actor)
    if rank == Rank.SUPERUSER:
        return Q(is_superuser=False) | Q(pk=actor.pk)
    if rank == Rank.STAFF:
        return Q(is_superuser=False, is_staff=False)
    return Q(pk__in=[])
