"""The relay's settings as one frozen value, so that the data plane reads no Django settings. Seconds, bytes and tokens; built in oneapi_site."""

import datetime
import re
from dataclasses import dataclass

from billing.pricing import Price
from gateway.addresses import Network

# Models that think out of sight: what they produced cannot be counted from what was seen, so their streams are read to the end.
_HIDDEN_REASONING = re.compile(r"(?:.*/)?(?:o[1-9](?:$|[-:])|gpt-5|gpt-6|codex|computer-use)")


@dataclass(frozen=True, slots=True)
class RelayConfig:
    """See oneapi_site/settings.py for what each means."""

    max_body_bytes: int = 100 * 2**20
    max_answer_bytes: int = 256 * 2**20
    max_in_flight: int = 10_000
    max_bytes_in_flight: int = 2 * 2**30
    max_hops: int = 3
    max_attempts: int = 8
    retry_within: float = 60.0
    keepalive_after: float = 15.0
    timeout_connect: float = 10.0
    timeout_first_token: float = 120.0
    timeout_gap: float = 120.0
    timeout_total: float = 1800.0
    client_gone: str = "cancel"
    default_max_output: int = 16_384
    default_context: int = 1_000_000
    unpriced: Price | None = None
    disk_reserve_bytes: int = 64 * 2**20
    trusted_proxies: tuple[Network, ...] = ()
    shutdown_timeout: float = 30.0
    time_zone: datetime.tzinfo = datetime.UTC

    def hidden_reasoning(self, model: str) -> bool:
        """Whether a model thinks out of sight."""
        return _HIDDEN_REASONING.match(model) is not None
