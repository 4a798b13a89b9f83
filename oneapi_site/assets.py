"""Static files whose links follow the request's prefix, so that one process serves them at `/` and below a sub-path."""

from django.urls import get_script_prefix
from whitenoise.storage import CompressedManifestStaticFilesStorage


class PrefixedManifestStorage(CompressedManifestStaticFilesStorage):  # type: ignore[misc]  # whitenoise has no types
    """Hashed names; the base URL is the prefix in force plus `static/`."""

    manifest_strict = False

    def url(self, name: str | None, force: bool = False) -> str:
        link: str = super().url(name, force)
        base = self.base_url or ""
        return get_script_prefix() + "static/" + link.removeprefix(base) if link.startswith(base) else link
