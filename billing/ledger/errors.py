"""What the ledger may answer.

LedgerError
    NotEnough    the balance named does not hold the reserve: a refusal, nothing was taken
    Closed       no admission now: the database does not answer, the disk is full, or the process stops. 503, try again
    NotBooked    a charge could not be committed: the end of its answer must not be sent
"""


class LedgerError(Exception):
    """Any of the above."""


class NotEnough(LedgerError):
    """`kind` is the balance that refused (wallet, token, …); `left` what could be had of it, in nano-dollars."""

    def __init__(self, kind: str, left: int) -> None:
        super().__init__(f"the {kind} holds {left} nano-dollars, less than the request may cost")
        self.kind = kind
        self.left = left


class Closed(LedgerError):
    """`reason` is a sentence for the operator; `retry_after` seconds for the client."""

    def __init__(self, reason: str, retry_after: int = 5) -> None:
        super().__init__(reason)
        self.reason = reason
        self.retry_after = retry_after


class NotBooked(LedgerError):
    """The charge was refused by the database, or the ledger stopped before it was committed."""
