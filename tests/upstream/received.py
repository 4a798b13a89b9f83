"""A request as the simulator got it."""

import json
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Received:
    """`headers` are in their order, names in lower case; `path` is without the query."""

    method: str
    path: str
    query: str
    headers: tuple[tuple[str, str], ...]
    body: bytes

    @classmethod
    def of(cls, scope: dict[str, Any], body: bytes) -> "Received":
        """From an ASGI scope."""
        headers = tuple((name.decode("latin-1").lower(), value.decode("latin-1")) for name, value in scope["headers"])
        return cls(scope["method"], scope["path"], scope["query_string"].decode("latin-1"), headers, body)

    def header(self, name: str) -> str:
        """A header's value, the first of several; "" where it is missing."""
        return next((value for known, value in self.headers if known == name.lower()), "")

    @property
    def key(self) -> str:
        """The bearer's key; "" without one."""
        scheme, _, key = self.header("authorization").partition(" ")
        return key.strip() if scheme.lower() == "bearer" else ""

    @property
    def json(self) -> Any:
        """The body. Raises ValueError where it is not JSON."""
        return json.loads(self.body)

    @property
    def model(self) -> str | None:
        """The model asked for, None where there is none to be read."""
        try:
            found = self.json
        except ValueError:
            return None
        model = found.get("model") if isinstance(found, dict) else None
        return model if isinstance(model, str) else None
