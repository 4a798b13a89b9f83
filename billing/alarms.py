"""Alarms: an error in the log, an e-mail to ALERT_EMAILS, a POST to ALERT_WEBHOOK. One way that fails does not stop the others."""

from typing import Any

import structlog
from django.conf import settings
from django.core.mail import send_mail

from outbound.client_httpx import post_json
from outbound.guard import Guard
from outbound.transport import TransportError

log = structlog.get_logger(__name__)


def raise_alarm(title: str, text: str, details: dict[str, Any]) -> None:
    """Tells everybody who is to know. The webhook gets JSON: {"title", "text", "details"}; its address passes the guard for public ones."""
    log.error("alarm", title=title, text=text, **details)
    if settings.ALERT_EMAILS:
        try:
            send_mail(title, text, settings.DEFAULT_FROM_EMAIL, settings.ALERT_EMAILS)
        except OSError as error:  # smtplib's errors are OSErrors too
            log.error("alarm by e-mail failed", error=str(error))
    if settings.ALERT_WEBHOOK:
        try:
            post_json(Guard("public", settings.ALLOWED_PRIVATE_NETWORKS), settings.ALERT_WEBHOOK, {"title": title, "text": text, "details": details})
        except TransportError as error:
            log.error("alarm by webhook failed", error=str(error))
