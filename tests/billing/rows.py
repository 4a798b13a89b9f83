"""Rows as the ledger books them, for tests of what reads them; and a crowd of threads with database connections of their own."""

import datetime
import threading
import uuid
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from django.db import connection, connections
from django.db.models import F
from django.utils import timezone

from accounts.models import User
from billing.models import Balance, Counter, Lease, Process, UsageRecord
from billing.wallets import wallet_of

T = TypeVar("T")
USD = 10**9


def make_user(name: str = "alice", **fields: Any) -> User:
    return User.objects.create_user(name, password="a password of a test", **fields)


def make_process(boot_id: str = "boot-1", **fields: Any) -> Process:
    return Process.objects.get_or_create(boot_id=boot_id, defaults={"slot": 1, "host": "test", "started_at": timezone.now(), **fields})[0]


def lease(balance: Balance, amount: int, boot_id: str = "boot-1") -> Lease:
    """Moves money of a balance into the hands of a process."""
    make_process(boot_id)
    Balance.objects.filter(pk=balance.pk).update(available=F("available") - amount)
    return Lease.objects.create(boot_id=boot_id, balance=balance, remaining=amount)


def charge(balances: Sequence[Balance], amount: int, **fields: Any) -> UsageRecord:
    """Books a request as the engine does: the record, the lease or else what is available of each balance, and the counters."""
    record = UsageRecord.objects.create(
        **{
            "id": uuid.uuid4(), "at": timezone.now(), "ended": "done", "boot_id": "boot-1", "balances": [balance.pk for balance in balances],
            "user_id": 1, "token_id": 2, "channel_id": 3, "key_id": 4, "group": "default", "endpoint": "chat/completions", "model": "m",
            "model_served": "m", "stream": False, "counted": False, "input_tokens": 10, "output_tokens": 5, "amount": amount, "upstream_cost": 0,
            "status": 200, "duration_ms": 1, **fields,
        }
    )  # fmt: skip
    for balance in balances:
        if not Lease.objects.filter(boot_id=record.boot_id, balance=balance).update(remaining=F("remaining") - amount):
            Balance.objects.filter(pk=balance.pk).update(available=F("available") - amount)
    if record.type == "request" and record.ended in ("done", "partial", "abandoned"):
        for kind, subject in (("user", record.user_id), ("token", record.token_id), ("channel", record.channel_id)):
            Counter.objects.get_or_create(kind=kind, subject=subject, slot=1)
            Counter.objects.filter(kind=kind, subject=subject, slot=1).update(amount=F("amount") + amount, requests=F("requests") + 1)
    return record


def remaining(user: User) -> int:
    """What the wallet row alone says."""
    return wallet_of(user.pk).available


def at_once(count: int, act: Callable[[int], T]) -> list[T | Exception]:
    """`act(0)` … `act(count - 1)` in threads that start together; what each gave back or raised, in their order."""
    start = threading.Barrier(count)
    outcomes: list[T | Exception] = [RuntimeError("not run")] * count

    def run(number: int) -> None:
        try:
            start.wait(30)
            outcomes[number] = act(number)
        except Exception as error:  # noqa: BLE001  the outcome is what the test is about
            outcomes[number] = error
        finally:
            connections.close_all()

    threads = [threading.Thread(target=run, args=(number,)) for number in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(120)
    connection.close_if_unusable_or_obsolete()
    return outcomes


def yesterday() -> datetime.datetime:
    return timezone.now() - datetime.timedelta(days=1)
