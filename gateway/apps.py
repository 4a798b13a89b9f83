"""The app's registration with Django."""

from django.apps import AppConfig
from django.db.models.signals import post_migrate
from django.utils.translation import gettext_lazy as _

from gateway.triggers import after_migrate


class GatewayConfig(AppConfig):
    name = "gateway"
    verbose_name = _("access")

    def ready(self) -> None:
        post_migrate.connect(after_migrate, sender=self)
