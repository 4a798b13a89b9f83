"""The admin of money; each module registers its rows."""

from billing.admin import audits, balances, codes, machine, people, prices, usage

__all__ = ["audits", "balances", "codes", "machine", "people", "prices", "usage"]
