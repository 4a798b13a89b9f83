"""The rows of the ledger, prices and redeem codes; each module says what its rows promise."""

from billing.models.act import AuditRun, LimitChange
from billing.models.balance import Balance, Kind, LedgerEntry
from billing.models.budget import BUDGET_KINDS, Budget
from billing.models.month import Checkpoint, ClosedMonth
from billing.models.price import ModelPrice, PriceRule
from billing.models.process import Counter, Hold, Lease, Process
from billing.models.redeem import RedeemCode
from billing.models.usage import UsageQuerySet, UsageRecord

__all__ = [
    "BUDGET_KINDS", "AuditRun", "Balance", "Budget", "Checkpoint", "ClosedMonth", "Counter", "Hold", "Kind", "Lease", "LedgerEntry", "LimitChange",
    "ModelPrice", "PriceRule", "Process", "RedeemCode", "UsageQuerySet", "UsageRecord",
]  # fmt: skip
