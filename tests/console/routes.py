"""All addresses of the console with arguments that exist, for tests that visit every one."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

from django.urls import URLPattern, URLResolver, get_resolver

from tests.console.rows import World

ARGUMENT = re.compile(r"<(?:(?P<kind>\w+):)?(?P<name>\w+)>|\(\?P<(?P<group>\w+)>[^)]*\)")


@dataclass(frozen=True)
class Route:
    """`shape` is the address as in urls.py, `address` one with arguments filled in."""

    shape: str
    address: str


def routes(world: World) -> Iterator[Route]:
    """Every pattern of the console."""
    pages = world.change_pages()
    for shape in _shapes(get_resolver().url_patterns, ""):
        yield Route(shape, "/" + ARGUMENT.sub(partial(_argument, shape, world, pages), shape))


def _shapes(patterns: list[Any], before: str) -> Iterator[str]:
    for pattern in patterns:
        text = before + str(pattern.pattern).removeprefix("^").removesuffix("$").removesuffix("\\Z").replace("\\.", ".")
        if isinstance(pattern, URLResolver):
            yield from _shapes(pattern.url_patterns, text)
        elif isinstance(pattern, URLPattern):
            yield text


def _argument(shape: str, world: World, pages: dict[str, object], found: re.Match[str]) -> str:
    name = found["name"] or found["group"]
    if name in {"object_id", "id"}:
        app, model = shape.split("/")[1:3]
        return str(pages.get(f"{app}.{model}", world.user.pk))
    known = {"token_id": world.token.pk, "record_id": world.record.pk, "app_label": "billing", "content_type_id": "1", "uidb36": "1"}
    return str(known.get(name, "x"))
