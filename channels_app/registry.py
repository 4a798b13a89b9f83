"""All providers by slug: every module in providers/ that has a PROVIDER. Adding one touches one new file and nothing else."""

import importlib
import pkgutil
from collections.abc import Mapping
from types import MappingProxyType

from channels_app import providers
from channels_app.provider import Provider


def _found() -> dict[str, Provider]:
    found: dict[str, Provider] = {}
    for module in pkgutil.iter_modules(providers.__path__):
        provider = importlib.import_module(f"{providers.__name__}.{module.name}").PROVIDER
        if not isinstance(provider, Provider) or provider.slug != module.name:
            raise TypeError(f"providers/{module.name}.py must end in PROVIDER, a Provider whose slug is {module.name!r}")
        found[provider.slug] = provider
    return found


PROVIDERS: Mapping[str, Provider] = MappingProxyType(_found())


def get(slug: str) -> Provider:
    """The provider of that slug. KeyError for one that is not there."""
    return PROVIDERS[slug]
