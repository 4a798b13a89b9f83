"""People and the groups whose prices and channels they get."""

from typing import Any, ClassVar

from django.contrib.auth.models import AbstractUser
from django.core.validators import RegexValidator
from django.db import models
from django.utils.translation import gettext_lazy as _

DEFAULT_GROUP = "default"
PPM = 1_000_000


class Group(models.Model):
    """Users and tokens belong to one group; a channel serves one or several. The group `default` always exists."""

    name = models.CharField(_("name"), max_length=64, unique=True, validators=[RegexValidator(r"^[\w.:-]+$", _("Letters, digits and . : _ - only."))])
    description = models.CharField(_("description"), max_length=200, blank=True)
    ratio_ppm = models.BigIntegerField(
        _("price ratio (ppm)"),
        default=PPM,
        help_text=_("Charges are multiplied by it: 1,000,000 is the list price, 500,000 is half of it, 0 is free."),
    )

    class Meta:
        verbose_name = _("group")
        verbose_name_plural = _("groups")
        ordering: ClassVar = ["name"]
        constraints: ClassVar = [
            models.CheckConstraint(name="group_ratio_range", condition=models.Q(ratio_ppm__gte=0, ratio_ppm__lte=1000 * PPM)),
        ]

    def __str__(self) -> str:
        return self.name


def default_group() -> int:
    """The id of the group `default`, for a user who is given none."""
    return Group.objects.get_or_create(name=DEFAULT_GROUP)[0].pk


class User(AbstractUser):
    """A person with a wallet. `is_active` off means banned; users are tombstoned, never deleted, as charges name them by id."""

    display_name = models.CharField(_("display name"), max_length=64, blank=True)
    group = models.ForeignKey(Group, on_delete=models.PROTECT, verbose_name=_("group"), related_name="users")
    unlimited = models.BooleanField(
        _("unlimited balance"), default=False, help_text=_("Requests are recorded and priced, but no wallet is asked or charged.")
    )
    invite_code = models.CharField(_("invitation code"), max_length=32, unique=True, null=True, blank=True)
    inviter = models.ForeignKey("self", on_delete=models.SET_NULL, null=True, blank=True, verbose_name=_("invited by"), related_name="invited")
    remark = models.CharField(_("remark"), max_length=255, blank=True, help_text=_("Seen by operators only."))
    deleted_at = models.DateTimeField(_("deleted"), null=True, blank=True, editable=False)

    class Meta(AbstractUser.Meta):
        verbose_name = _("user")  # type: ignore[assignment]  # Django's own is typed as plain text
        verbose_name_plural = _("users")  # type: ignore[assignment]
        indexes: ClassVar = [models.Index(fields=["email"], name="user_email"), models.Index(fields=["-date_joined"], name="user_joined")]

    def __str__(self) -> str:
        return self.username

    def save(self, *args: Any, **kwargs: Any) -> None:
        """A user who is given no group belongs to `default`."""
        if self.group_id is None:
            self.group_id = default_group()
        super().save(*args, **kwargs)


class EncryptionCheck(models.Model):
    """One row: a known text under FIELD_ENCRYPTION_KEYS, by which the start notices a wrong or missing key."""

    cipher = models.TextField()

    class Meta:
        verbose_name = _("encryption check")
        constraints: ClassVar = [models.CheckConstraint(name="encryption_check_one_row", condition=models.Q(id=1))]

    def __str__(self) -> str:
        return "encryption check"
