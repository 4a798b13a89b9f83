"""A statement as people ask for it: the fields of an address read, the page's lines with names, and the file that a spreadsheet opens."""

import datetime
import uuid
from collections.abc import AsyncIterator, Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import islice
from typing import Any

from asgiref.sync import sync_to_async
from django.apps import apps
from django.core.handlers.asgi import ASGIRequest
from django.http import HttpRequest, StreamingHttpResponse
from django.utils import timezone
from django.utils.dateparse import parse_date
from django.utils.http import urlencode

from accounts.models import User
from billing import statement
from billing.csv_cells import BOM, csv_lines, inert
from billing.models import Balance, Kind
from billing.money import format_usd
from billing.statement import LIMIT_KINDS, WALLET_KINDS, Filters, Key, Line, Period

LINES_A_CHUNK = 500
MODEL_LIMIT = 200
HEAD = ("time", "kind", "usd", "balance_usd", "model", "token", "charge", "reason")
HEAD_INSIDE = (*HEAD, "author", "reference")
"""Who did it and under which reference is the operator's business, and not in a user's own file."""


@dataclass(frozen=True, slots=True)
class Asked:
    """What an address asks for; what it has of nonsense is left out. `fields` are those that were understood, as texts."""

    period: Period
    filters: Filters
    before: Key | None
    fields: dict[str, str]


def asked(query: Mapping[str, str]) -> Asked:
    """Reads `from` and `to` (days in TIME_ZONE, both inclusive), `kind`, `model`, `token` (an id) and `before` (`place`)."""
    fields = {}
    start, end = (_day(query.get(name, "")) for name in ("from", "to"))
    if start:
        fields["from"] = start.isoformat()
    if end:
        fields["to"] = end.isoformat()
    kind, token = query.get("kind", ""), query.get("token", "")
    if kind in WALLET_KINDS or kind in LIMIT_KINDS:
        fields["kind"] = kind
    if token.isascii() and token.isdigit() and len(token) < 18:
        fields["token"] = token
    model = query.get("model", "").strip().replace("\x00", "")[:MODEL_LIMIT]
    if model:
        fields["model"] = model
    filters = Filters(fields.get("kind", ""), model, int(token) if "token" in fields else None)
    period = Period(_midnight(start), _midnight(end + datetime.timedelta(days=1)) if end else None)
    return Asked(period, filters, _key(query.get("before", "")), fields)


def page_context(balance: Balance | None, query: Mapping[str, str]) -> dict[str, Any]:
    """What both templates show: figures and lines; `more` and `download` are the queries of the next page and of the file."""
    wanted = asked(query)
    kinds = LIMIT_KINDS if balance is not None and balance.kind != Kind.WALLET else WALLET_KINDS
    found = statement.page(balance, wanted.period, wanted.filters, before=wanted.before) if balance else statement.Page(0, 0)
    tokens, authors = names(found.lines)
    return {
        "statement": found,
        "rows": [
            {
                "line": line,
                "kind": kinds.get(line.kind, line.kind),
                "token": tokens.get(line.token_id or 0),
                "author": authors.get(line.author_id or 0),
            }
            for line in found.lines
        ],
        "kinds": kinds.items(),
        "asked": wanted.fields,
        "filter_token": wanted.filters.token_id,
        "wallet": balance is None or balance.kind == Kind.WALLET,
        "further": wanted.before is not None,
        "more": urlencode({**wanted.fields, "before": place(found.older)}) if found.older else "",
        "newest": urlencode(wanted.fields),
        "download": urlencode({**wanted.fields, "format": "csv"}),
    }


def names(lines: Iterable[Line]) -> tuple[dict[int, str], dict[int, str]]:
    """The names of the tokens and of the authors of these lines, by id."""
    shown = list(lines)
    tokens: Any = apps.get_model("gateway.Token")._base_manager
    token_names = dict(tokens.filter(pk__in={line.token_id for line in shown if line.token_id}).values_list("pk", "name"))
    author_names = dict(User._base_manager.filter(pk__in={line.author_id for line in shown if line.author_id}).values_list("pk", "username"))
    return token_names, author_names


def csv_response(request: HttpRequest, balance: Balance | None, *, inside: bool) -> StreamingHttpResponse:
    """The whole statement as a file, the oldest line first, sent while it is read. `inside`: with author and reference."""
    wanted = asked(request.GET)
    texts = chunks(balance, wanted.period, wanted.filters, inside=inside)
    body = _in_threads(texts) if isinstance(request, ASGIRequest) else texts
    headers = {"Content-Disposition": 'attachment; filename="statement.csv"', "Cache-Control": "no-store"}
    return StreamingHttpResponse(body, content_type="text/csv; charset=utf-8", headers=headers)


def chunks(balance: Balance | None, period: Period, filters: Filters, *, inside: bool) -> Iterator[str]:
    """The file in pieces of some hundred lines."""
    yield BOM + "".join(csv_lines([HEAD_INSIDE if inside else HEAD]))
    if balance is None:
        return
    lines = statement.every_line(balance, period, filters)
    while chunk := list(islice(lines, LINES_A_CHUNK)):
        yield "".join(csv_lines(cells(chunk, inside=inside, reasons=inside or balance.kind == Kind.WALLET)))


def cells(lines: list[Line], *, inside: bool, reasons: bool) -> Iterator[list[Any]]:
    """The cells of each line. Amounts are plain numbers of dollars; every text that somebody else wrote is inert."""
    tokens, authors = names(lines)
    for line in lines:
        token = tokens.get(line.token_id, f"#{line.token_id}") if line.token_id else ""
        row = [
            timezone.localtime(line.at).isoformat(),
            line.kind,
            format_usd(line.amount),
            format_usd(line.balance),
            inert(line.model),
            inert(token),
            line.charge or "",
            inert(line.reason) if reasons else "",
        ]
        yield [*row, inert(authors.get(line.author_id or 0, "")), inert(line.reference)] if inside else row


def place(key: Key) -> str:
    """A line's place for an address."""
    return f"{key.at.isoformat()}~{key.source}~{key.number}~{key.charge}"


def _key(text: str) -> Key | None:
    """The place that `place` wrote; None for anything else."""
    try:
        at, source, number, charge = text[:120].split("~")
        moment, ordinal = datetime.datetime.fromisoformat(at), int(number)
        if charge:
            uuid.UUID(charge)
        if moment.tzinfo is None or int(source) not in (-1, 0, 1) or not 0 <= ordinal < 2**63:
            return None
        return Key(moment, int(source), ordinal, charge)
    except ValueError:
        return None


def _day(text: str) -> datetime.date | None:
    try:
        day = parse_date(text)
    except ValueError:
        return None
    return day if day and 2000 <= day.year <= 2999 else None


def _midnight(day: datetime.date | None) -> datetime.datetime | None:
    return timezone.make_aware(datetime.datetime.combine(day, datetime.time())) if day else None


async def _in_threads(texts: Iterator[str]) -> AsyncIterator[str]:
    """The same pieces for an asynchronous server, each read in the request's thread."""
    following = sync_to_async(lambda: next(texts, None))
    while (text := await following()) is not None:
        yield text
