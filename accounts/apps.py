"""The app's registration with Django."""

from typing import Any

from django.apps import AppConfig
from django.db.models.signals import post_migrate
from django.utils.translation import gettext_lazy as _


def ensure_default_group(sender: AppConfig, **_: Any) -> None:
    """The group `default` always exists."""
    sender.get_model("Group")._default_manager.get_or_create(name="default")


class AccountsConfig(AppConfig):
    name = "accounts"
    verbose_name = _("people")

    def ready(self) -> None:
        post_migrate.connect(ensure_default_group, sender=self)
