"""The admin of upstreams; each module registers its rows."""

from channels_app.admin import channel, price_rules

__all__ = ["channel", "price_rules"]
