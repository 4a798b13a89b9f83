#!/usr/bin/env python
"""Django's command line for this project; operators use it through `script/manage`."""

import os
import sys

from django.core.exceptions import ImproperlyConfigured
from django.core.management import execute_from_command_line


def arguments() -> list[str]:
    """The command line; `channel`'s own --settings under its other name, as Django takes --settings for itself, whatever the command."""
    if sys.argv[1:2] != ["channel"]:
        return sys.argv
    return ["--provider-settings" + word[len("--settings") :] if word.partition("=")[0] == "--settings" else word for word in sys.argv]


def main() -> None:
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "oneapi_site.settings")
    try:
        execute_from_command_line(arguments())
    except ImproperlyConfigured as wrong:
        sys.exit(f"Configuration: {wrong}")


if __name__ == "__main__":
    main()
