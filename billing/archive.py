"""The rows of a closed month as a compressed file: one JSON object a line, in the order of (at, id), money in integer nano-dollars.

It lies in DATA_DIR/archive beside its SHA-256 (the format of sha256sum), is written under a temporary name and renamed when the disk has it.
"""

import datetime
import gzip
import hashlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

import msgspec
from django.conf import settings
from django.db.backends.utils import CursorWrapper
from django.utils import timezone
from django.utils.translation import gettext as _

from billing.audit import checkpoints_of, snapshot
from billing.ledger.journal import sync_folder
from billing.models import ClosedMonth, UsageRecord
from billing.months import MonthError, alone, start_of
from billing.partitions import month_after

PAGE = 2000  # rows read at once
COLUMNS = tuple(field.attname for field in UsageRecord._meta.concrete_fields)


def folder() -> Path:
    """Where archives lie."""
    return Path(settings.DATA_DIR) / "archive"


def archive(month: datetime.date) -> ClosedMonth:
    """Writes a month's rows to its file, again where something was booked or refunded since. MonthError: not closed, pruned, its rows are not
    what its checkpoints say, or the disk refuses."""
    with alone():
        closed = ClosedMonth.objects.filter(month=month).first()
        if closed is None:
            raise MonthError(_("%(month)s is not closed.") % {"month": f"{month:%Y-%m}"})
        if closed.pruned_at is not None:
            raise MonthError(_("The rows of %(month)s are gone; its archive is %(file)s.") % {"month": closed, "file": closed.archive})
        path = folder() / f"usage-{closed}.jsonl.gz"
        try:
            written = _write(closed, path)
        except OSError as error:
            raise MonthError(_("The archive cannot be written: %(error)s") % {"error": error}) from error
        ClosedMonth.objects.filter(pk=closed.pk).update(archived_at=timezone.now(), archive=path.name, **written)
        closed.refresh_from_db()
        return closed


def verified(closed: ClosedMonth) -> bool:
    """Whether the file is there, and is what was written."""
    try:
        with open(folder() / closed.archive, "rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest() == closed.sha256
    except OSError:
        return False


def first_of_all(month: datetime.date) -> bool:
    """Whether it is the first closed month: that one covers what is older as well."""
    return not ClosedMonth.objects.filter(month__lt=month).exists()


def _write(closed: ClosedMonth, path: Path) -> dict[str, Any]:
    """Gives back what the row keeps of the archive; `archived_changes` is of the moment that the file shows."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    temporary = path.with_suffix(".tmp")
    try:
        with open(temporary, "wb") as file, snapshot() as cursor:
            told = _export(closed, cursor, file)
            _to_disk(file)
        with open(temporary, "rb") as file:
            told["sha256"] = hashlib.file_digest(file, "sha256").hexdigest()
        with open(path.with_suffix(".gz.sha256"), "wb") as note:
            note.write(f"{told['sha256']}  {path.name}\n".encode())
            _to_disk(note)
        os.replace(temporary, path)
        sync_folder(path.parent)
    finally:
        temporary.unlink(missing_ok=True)
    return told


def _export(closed: ClosedMonth, cursor: CursorWrapper, file: BinaryIO) -> dict[str, Any]:
    changes = ClosedMonth.objects.values_list("changes", flat=True).get(pk=closed.pk)
    since = None if first_of_all(closed.month) else closed.month
    cursor.execute(checkpoints_of(closed.month, since).sql)
    if cursor.fetchone() is not None:
        raise MonthError(_("The rows of %(month)s are not what its checkpoints say: run the full audit.") % {"month": closed})
    count = refunded = 0
    with gzip.GzipFile("", "wb", 6, file, mtime=0) as packed:
        for row in _rows(since, month_after(closed.month)):
            packed.write(msgspec.json.encode(row) + b"\n")
            count, refunded = count + 1, refunded + row["refunded"]
    return {"rows": count, "refunded": refunded, "archived_changes": changes}


def _rows(since: datetime.date | None, until: datetime.date) -> Iterator[dict[str, Any]]:
    """A page at a time, so that neither database nor process holds a month in memory."""
    rows = UsageRecord.objects.filter(at__lt=start_of(until)).order_by("at", "id")
    if since is not None:
        rows = rows.filter(at__gte=start_of(since))
    yield from rows.values(*COLUMNS).iterator(PAGE)


def _to_disk(file: BinaryIO) -> None:
    file.flush()
    os.fsync(file.fileno())
