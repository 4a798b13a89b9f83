"""A wall clock that a test moves, for a process and its children (https://github.com/wolfcw/libfaketime). Other clocks go on as they are."""

import glob
from datetime import timedelta
from pathlib import Path

SLEEP = """# time.sleep names an absolute moment of the monotonic clock, which the library takes for one of the wall clock
import select, time
time.sleep = lambda seconds: select.select([], [], [], seconds) and None
"""
PLACES = ("/usr/lib/*/faketime/libfaketimeMT.so.1", "/usr/lib/faketime/libfaketimeMT.so.1", "/usr/local/lib/faketime/libfaketimeMT.so.1")


def library() -> str | None:
    """The library to preload."""
    return next((found for place in PLACES for found in glob.glob(place)), None)


class Clock:
    """Start processes with `env`; then `move` counts for them at once."""

    def __init__(self, folder: Path) -> None:
        self._file = folder / "faketime"
        self.move(timedelta(0))
        (folder / "sitecustomize.py").write_text(SLEEP, encoding="ascii")
        preload = library()
        assert preload, "the tests need libfaketime"
        self.env = {"LD_PRELOAD": preload, "FAKETIME_TIMESTAMP_FILE": str(self._file), "PYTHONPATH": str(folder)}
        self.env |= {"FAKETIME_NO_CACHE": "1", "DONT_FAKE_MONOTONIC": "1"}

    def move(self, by: timedelta) -> None:
        """So far from the machine's own clock."""
        self._file.write_text(f"{by.total_seconds():+.0f}\n", encoding="ascii")
