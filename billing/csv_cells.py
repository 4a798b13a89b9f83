"""CSV that spreadsheets open and that none of them takes for a program."""

import csv
import io
from collections.abc import Iterable, Iterator
from typing import Any

BOM = "\ufeff"
"""Begins a file for Excel, which else reads it in the machine's old code page."""

FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\r", "\n")


def inert(text: str) -> str:
    """A cell that no spreadsheet takes for a formula: https://owasp.org/www-community/attacks/CSV_Injection"""
    return f"'{text}" if text.startswith(FORMULA_STARTS) else text


def csv_lines(rows: Iterable[Iterable[Any]]) -> Iterator[str]:
    """Each row as a line of CSV, as it comes. Numbers stay numbers; texts are the caller's to make `inert`."""
    for row in rows:
        out = io.StringIO()
        csv.writer(out, lineterminator="\r\n").writerow(row)
        yield out.getvalue()
