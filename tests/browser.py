"""Which browser the end-to-end tests drive: the system's Chromium."""

import shutil


def chromium() -> str | None:
    """Its path, None where there is none."""
    for name in ("chromium", "chromium-browser", "google-chrome-stable", "google-chrome"):
        found = shutil.which(name)
        if found:
            return found
    return None
