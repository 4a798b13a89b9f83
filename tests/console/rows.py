"""Rows that the console's tests start from: one of everything, and people of each rank."""

import datetime
from dataclasses import dataclass

from django.conf import settings
from django.contrib.auth.models import Group as Role
from django.contrib.auth.models import Permission
from django.test import Client
from django.utils import timezone
from django_celery_beat.models import CrontabSchedule, IntervalSchedule, PeriodicTask

from accounts.models import Group, User
from billing import redeem, wallets
from billing.ledger.records import uuid7
from billing.models import (
    AuditRun,
    Balance,
    Checkpoint,
    ClosedMonth,
    Counter,
    Hold,
    Kind,
    Lease,
    LedgerEntry,
    LimitChange,
    ModelPrice,
    PriceRule,
    Process,
    RedeemCode,
    UsageRecord,
)
from channels_app import channels
from channels_app.models import Channel, ChannelState
from gateway import tokens
from gateway.models import Token

settings.STATIC_ROOT.mkdir(parents=True, exist_ok=True)  # whitenoise warns where it is missing, and warnings are errors

PASSWORD = "a password for tests 1"
DOLLAR = 10**9
OUR_APPS = ("accounts", "billing", "channels_app", "gateway")


def person(name: str, *, permissions: tuple[str, ...] = (), **flags: bool) -> User:
    """A user; permissions as in "billing.add_redeemcode"."""
    user = User.objects.create_user(name, f"{name}@example.com", PASSWORD, **flags)
    for permission in permissions:
        app, codename = permission.split(".")
        user.user_permissions.add(Permission.objects.get(content_type__app_label=app, codename=codename))
    return user


def superuser(name: str = "root") -> User:
    """The highest rank."""
    return person(name, is_staff=True, is_superuser=True)


def staff(name: str = "clerk") -> User:
    """Staff with every permission on our own rows."""
    user = person(name, is_staff=True)
    user.user_permissions.set(Permission.objects.filter(content_type__app_label__in=OUR_APPS))
    return user


def signed_in(user: User | None) -> Client:
    """A browser in which this user is signed in."""
    client = Client()
    if user is not None:
        client.force_login(user, backend="django.contrib.auth.backends.ModelBackend")
    return client


def channel(name: str = "main", **values: object) -> Channel:
    """A channel of the provider `openai` with one key."""
    made = channels.add_channel("openai", name, base_url="https://up.example/v1", keys=["sk-upstream-canary-key-1"], models=["gpt-4o"])
    made.groups.set(Group.objects.filter(name="default"))
    if values:
        Channel.objects.filter(pk=made.pk).update(**values)
    return Channel.objects.get(pk=made.pk)


def record(user: User, token: Token, served: Channel | None = None, **values: object) -> UsageRecord:
    """A request that cost 28,000 nano-dollars."""
    now = timezone.now()
    facts = {
        "id": uuid7(int(now.timestamp() * 1000)), "at": now, "ended": "done", "boot_id": "boot", "user_id": user.pk, "token_id": token.pk,
        "channel_id": served.pk if served else 0, "key_id": 0, "group": "default", "endpoint": "chat/completions", "model": "gpt-4o",
        "model_served": "gpt-4o-2024-11-20", "stream": True, "counted": False, "input_tokens": 8, "output_tokens": 2, "amount": 28_000,
        "upstream_cost": 40_000, "status": 200, "duration_ms": 1234, "first_token_ms": 321, "client_ip": "203.0.113.7",
        "detail": {
            "usage": {"input": 8, "output": 2},
            "lines": [
                {"bucket": "input", "units": 8, "price": 2_500_000_000, "per": 10**6, "numerator": 20_000_000_000},
                {"bucket": "output", "units": 2, "price": 10_000_000_000, "per": 10**6, "numerator": 20_000_000_000},
            ],
            "ratio_ppm": 700_000,
            "attempts": [{"channel": served.pk if served else 0, "key": "y-1", "status": 200, "ms": 900, "error": ""}],
        },
    }  # fmt: skip
    return UsageRecord.objects.create(**{**facts, **values})


@dataclass
class World:
    """One of everything, of the user `alice`."""

    user: User
    token: Token
    key: str
    channel: Channel
    record: UsageRecord
    code: str
    schedule: PeriodicTask

    def change_pages(self) -> dict[str, object]:
        """The id of a row for each list of the admin, by "app.model"."""
        rows: tuple[type, ...] = (
            AuditRun, Balance, Checkpoint, ClosedMonth, Counter, Hold, Lease, LedgerEntry, LimitChange, ModelPrice, PriceRule, Process,
            RedeemCode,
        )  # fmt: skip
        found = {model._meta.label_lower: model.objects.values_list("pk", flat=True)[0] for model in rows}  # type: ignore[attr-defined]
        return {
            **found,
            "billing.usagerecord": self.record.pk,
            "accounts.user": self.user.pk,
            "accounts.group": self.user.group_id,
            "gateway.token": self.token.pk,
            "channels_app.channel": self.channel.pk,
            "django_celery_beat.periodictask": self.schedule.pk,
            "django_celery_beat.intervalschedule": self.schedule.interval_id,
            "django_celery_beat.crontabschedule": CrontabSchedule.objects.values_list("pk", flat=True)[0],
            "auth.group": 1,
        }


def world() -> World:
    """Makes one of everything."""
    Role.objects.create(pk=1, name="support")
    user = person("alice")
    wallets.credit(user, 20 * DOLLAR, None, "bank transfer", "first")
    token, key = tokens.issue_token(user, "laptop", limit_nano=5 * DOLLAR)
    served = channel()
    ChannelState.objects.create(channel=served, status="disabled", reason="the key is dead", response_ms=900, balance="12.5")
    code = redeem.mint(1, 3 * DOLLAR, batch="shop")[0]
    ModelPrice.objects.create(model="gpt-4o", input=2_500_000_000, output=10_000_000_000)
    PriceRule.objects.create(model="gpt-4o", ratio_ppm=800_000)
    wallet = wallets.wallet_of(user.pk)
    Process.objects.create(boot_id="boot", slot=1, host="here", started_at=timezone.now())
    Lease.objects.create(boot_id="boot", balance=wallet, remaining=DOLLAR)
    Hold.objects.create(hold_id=uuid7(0), balance=wallet, amount=DOLLAR, job="batch 1", deadline=timezone.now())
    Counter.objects.create(kind="user", subject=user.pk, slot=1, amount=28_000, requests=1)
    AuditRun.objects.create(ok=True)
    wallets.set_limit(Kind.TOKEN, token.pk, 4 * DOLLAR)
    Checkpoint.objects.create(kind="balance", subject=wallet.pk, month=datetime.date(2026, 1, 1))
    ClosedMonth.objects.create(month=datetime.date(2026, 1, 1), closed_at=timezone.now())
    interval = IntervalSchedule.objects.create(every=5, period="minutes")
    CrontabSchedule.objects.create(minute="7")
    schedule = PeriodicTask.objects.create(name="a test's job", task="billing.tasks.nightly_audit", interval=interval)
    return World(user, token, key, served, record(user, token, served), code, schedule)
