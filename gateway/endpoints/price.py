"""`GET /dashboard/billing/price`: what a request of such a size would cost its caller now. Names no channel and no upstream's price."""

from urllib.parse import parse_qsl

import msgspec

from billing.quote import UNITS, quote, usage_of
from gateway.delivery import Offer
from gateway.keys import Caller
from wire.errors import BadRequest, ModelMissing

FIELDS = frozenset({"model", *UNITS})


def asked_price(query: bytes) -> tuple[str, dict[str, str]]:
    """The model, and the counts by bucket, of a query string. Raises BadRequest, ModelMissing."""
    try:
        pairs = parse_qsl(query.decode("ascii"), keep_blank_values=True, strict_parsing=bool(query), max_num_fields=len(FIELDS))
    except ValueError:
        raise BadRequest("The query string cannot be read.") from None
    fields = dict(pairs)
    unknown = next((name for name in fields if name not in FIELDS), None)
    if unknown is not None:
        raise BadRequest(f"There is no parameter '{unknown[:50]}'. Use model, {', '.join(UNITS)}.", code="unknown_parameter", param=unknown[:50])
    model = fields.pop("model", "")
    if not model:
        raise ModelMissing
    return model, fields


def price(caller: Caller, model: str, offer: Offer, counts: dict[str, str]) -> bytes:
    """The charge where the channel that serves is the cheapest, and where it is the dearest. Raises BadRequest."""
    try:
        usage = usage_of(counts)
    except ValueError as error:
        raise BadRequest(str(error)) from None
    quotes = sorted((quote(terms, usage) for terms in offer.terms.values()), key=lambda one: int(one["amount_nanodollars"]))
    return msgspec.json.encode(
        {
            "object": "price",
            "model": model,
            "group": caller.group.name,
            "usage": {name: getattr(usage, name) for name in UNITS},
            "cheapest": quotes[0],
            "dearest": quotes[-1],
        }
    )
