"""What passes between the relay, the leases and the writer: plain values, amounts in integer nano-dollars."""

import datetime
import os
import uuid
from typing import NamedTuple

import msgspec

PAID_BY_HOLD = ""
"""The boot id in a charge that a hold pays: no process, so that no lease is touched."""


class BalanceKey(NamedTuple):
    """Names a balance: (kind, subject id, first day of a budget's period or "")."""

    kind: str
    subject: int
    period: str = ""


class UsageFacts(msgspec.Struct, frozen=True, kw_only=True):
    """One row of the usage log: what happened, and what it costs. `detail` is JSON text; texts are already cut to their columns."""

    ended: str
    user_id: int
    token_id: int
    channel_id: int
    key_id: int
    group: str
    endpoint: str
    model: str
    model_served: str
    stream: bool
    counted: bool
    input_tokens: int
    output_tokens: int
    amount: int
    upstream_cost: int
    status: int
    duration_ms: int
    first_token_ms: int | None = None
    upstream_request_id: str = ""
    client_ip: str = ""
    detail: str = "{}"


class Booking(msgspec.Struct, frozen=True):
    """A charge as the writer commits it: the admission's id, time, process and balances, with the facts."""

    id: uuid.UUID
    at: datetime.datetime
    boot_id: str
    balances: tuple[int, ...]
    facts: UsageFacts
    last_cents: tuple[int, ...] = ()  # balances whose last cents this charge held


class Ask(msgspec.Struct, frozen=True):
    """An acquire: at least `need` (or nothing), up to `want` for requests that wait, up to `slice` (bounded by the balance) to spend soon.

    `opens` says that the balance may not be there yet: that of a budget whose period has just begun.
    """

    boot_id: str
    key: BalanceKey
    need: int
    want: int
    slice: int
    opens: bool = False


class Granted(msgspec.Struct, frozen=True):
    """What an acquire brought: 0 where the balance has less than was needed. No balance: id 0.

    `available` is what it still has; `elsewhere` what other processes have leased of it and are asked to give back.
    """

    key: BalanceKey
    balance_id: int
    amount: int
    available: int
    elsewhere: int = 0


class GiveBack(msgspec.Struct, frozen=True):
    """Returns `amount` of a lease, or with `drop` the whole lease with whatever it holds (also less than nothing).

    `holder` gives last cents up; `seen` says that the balance's recall was answered.
    """

    boot_id: str
    key: BalanceKey
    balance_id: int
    amount: int
    drop: bool
    holder: str = ""
    seen: bool = False


class LastCents(msgspec.Struct, frozen=True):
    """Gives back `free`, then takes all that is left if it is at least `floor` and nobody else has it. `holder` is "boot id:request id"."""

    boot_id: str
    key: BalanceKey
    balance_id: int
    free: int
    floor: int
    holder: str


class HoldAsk(msgspec.Struct, frozen=True):
    """Moves `amount` of each lease named (balance id) into a hold for `job`, until `deadline`."""

    boot_id: str
    hold_id: uuid.UUID
    job: str
    deadline: datetime.datetime
    amounts: tuple[tuple[int, int], ...]


def uuid7(milliseconds: int) -> uuid.UUID:
    """A UUIDv7 (RFC 9562 §5.7) of that Unix time."""
    random = int.from_bytes(os.urandom(10), "big")
    value = (milliseconds & 0xFFFFFFFFFFFF) << 80 | 0x7 << 76 | (random >> 68 & 0xFFF) << 64 | 0b10 << 62 | random & 0x3FFFFFFFFFFFFFFF
    return uuid.UUID(int=value)


def time_of(identity: uuid.UUID) -> datetime.datetime:
    """The time inside a UUIDv7, to the millisecond: that of the charge's admission."""
    return datetime.datetime.fromtimestamp((identity.int >> 80) / 1000, tz=datetime.UTC)


def month_of(at: datetime.datetime) -> str:
    """The first day of a time's month (UTC), as both databases take a date."""
    return at.astimezone(datetime.UTC).strftime("%Y-%m-01")
