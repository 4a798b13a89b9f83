"""`manage.py load_prices`: the price table from the lists that come with the program. Part of every set-up; repeat it after an upgrade."""

import dataclasses
import json
from typing import Any

from django.core.management.base import BaseCommand, CommandParser

from billing.catalogue import catalogue, load


class Command(BaseCommand):
    help = "Fills the price table from genai-prices and our list of Chinese providers. Prices set by an operator are never changed."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--json", action="store_true", help="print the counts as JSON")

    def handle(self, *args: Any, **options: Any) -> None:
        counts = dataclasses.asdict(load(catalogue().values()))
        if options["json"]:
            self.stdout.write(json.dumps(counts))
        elif options["verbosity"] > 0:
            self.stdout.write("Prices: {created} new, {changed} changed, {unchanged} as before, {kept} of the operator kept.".format(**counts))
