"""The admin of upstreams; each module registers its rows."""

from channels_app.admin import channel

__all__ = ["channel"]
