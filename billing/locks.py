"""The control plane's row locks on money, in the one order that everybody keeps (docs/ledger.md §6): Process, Lease, Balance by key, Counter.

The control plane takes only the locks of balances: NO KEY UPDATE, as the relay's writer does, so that inserting an entry (a key share) does
not wait. On SQLite a transaction holds the database's only write lock from its start, and the lock of a row is nothing more.
"""

from collections.abc import Iterable

from billing.models import Balance

Key = tuple[str, int, str]
"""(kind, subject, period)"""


def lock_balance(kind: str, subject: int, period: str = "") -> Balance:
    """The balance, locked until the transaction ends. Balance.DoesNotExist; TransactionManagementError outside a transaction."""
    return Balance.objects.select_for_update(no_key=True).get(kind=kind, subject=subject, period=period)


def lock_balances(keys: Iterable[Key]) -> list[Balance]:
    """Several of them, locked one after another in the order of their keys; Balance.DoesNotExist where one is missing."""
    return [lock_balance(*key) for key in sorted(set(keys))]
