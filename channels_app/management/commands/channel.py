"""`manage.py channel add|list|enable|disable|test`."""

from argparse import ArgumentParser
from typing import Any, ClassVar

from accounts.models import DEFAULT_GROUP
from accounts.operator import OperatorCommand, OperatorError, Output, json_object, table, words
from accounts.users import find_group
from channels_app.channels import add_channel, disable_channel, enable_channel, find_channel
from channels_app.health import test_channel
from channels_app.models import Channel, ChannelState
from channels_app.registry import PROVIDERS


class Command(OperatorCommand):
    help = "Upstream channels: add, list, enable, disable, test."
    verbs: ClassVar[dict[str, str]] = {
        "add": "Add a channel; prints its id.",
        "list": "List channels with what was observed of them.",
        "enable": "Enable a channel, and clear its automatic status.",
        "disable": "Disable a channel: no request goes there after a second.",
        "test": "Send one small request through a channel, past its state; exits with 1 if it fails.",
    }

    def arguments_add(self, parser: ArgumentParser) -> None:
        parser.add_argument("--provider", required=True, choices=sorted(PROVIDERS), metavar="P", help=", ".join(sorted(PROVIDERS)))
        parser.add_argument("--name", required=True, help="unique")
        parser.add_argument("--base-url", default="", metavar="URL", help="default: the provider's own")
        parser.add_argument("--key", action="append", default=[], metavar="K", help="the upstream's key; may be given several times")
        parser.add_argument("--models", type=words, default=[], metavar="A,B", help="default: the provider's own")
        parser.add_argument("--priority", type=int, default=0, help="higher is tried first")
        parser.add_argument("--weight", type=int, default=1, help="share among channels of one priority")
        parser.add_argument("--groups", type=words, default=[DEFAULT_GROUP], metavar="A,B", help=f"default: {DEFAULT_GROUP}")
        parser.add_argument("--mapping", type=json_object, default={}, metavar="JSON", help='{"asked": "name at the upstream"}')
        parser.add_argument(
            "--settings", "--provider-settings", dest="provider_settings", type=json_object, default={}, metavar="JSON", help="of the provider"
        )
        parser.add_argument("--test-model", default="", metavar="M", help="default: the first of its models")

    def arguments_list(self, parser: ArgumentParser) -> None:
        """None."""

    def named(self, parser: ArgumentParser) -> None:
        """The argument that names a channel."""
        parser.add_argument("--channel", required=True, metavar="C", help="name or id")

    arguments_enable = arguments_disable = arguments_test = named

    def add(self, options: dict[str, Any]) -> Output:
        channel = add_channel(
            options["provider"],
            options["name"],
            base_url=options["base_url"],
            keys=options["key"],
            models=options["models"],
            groups=[find_group(name) for name in options["groups"]],
            mapping=options["mapping"],
            priority=options["priority"],
            weight=options["weight"],
            settings=options["provider_settings"],
            test_model=options["test_model"],
        )
        return Output(described(channel), [str(channel.pk)])

    def list(self, options: dict[str, Any]) -> Output:
        channels = Channel.objects.filter(deleted_at__isnull=True).prefetch_related("groups", "states").order_by("-priority", "pk")
        columns = ("id", "name", "provider", "enabled", "status", "priority", "weight", "groups", "models", "response_ms")
        return table([described(channel) for channel in channels], columns)

    def enable(self, options: dict[str, Any]) -> Output:
        channel = chosen(options)
        enable_channel(channel)
        return Output(described(channel), [f"{channel.name} is enabled."])

    def disable(self, options: dict[str, Any]) -> Output:
        channel = chosen(options)
        disable_channel(channel)
        return Output(described(channel), [f"{channel.name} is disabled."])

    def test(self, options: dict[str, Any]) -> Output:
        channel = chosen(options)
        outcome = test_channel(channel)
        if outcome.error:
            raise OperatorError(f"{channel.name}: {outcome.error}")
        data = {"id": channel.pk, "name": channel.name, "ok": True, "response_ms": outcome.response_ms}
        return Output(data, [f"{channel.name} answered in {outcome.response_ms} ms."])


def chosen(options: dict[str, Any]) -> Channel:
    """The channel that --channel names. Raises OperatorError."""
    try:
        return find_channel(options["channel"])
    except Channel.DoesNotExist:
        raise OperatorError(f"There is no channel {options['channel']}.") from None


def described(channel: Channel) -> dict[str, Any]:
    """A channel as JSON; keys are never shown."""
    own = next((state for state in channel.states.all() if state.key_id is None), None)
    return {
        "id": channel.pk,
        "name": channel.name,
        "provider": channel.provider,
        "base_url": channel.base_url,
        "enabled": channel.enabled,
        "status": own.status if own else ChannelState.Status.OK.value,
        "reason": own.reason if own else "",
        "priority": channel.priority,
        "weight": channel.weight,
        "groups": [group.name for group in channel.groups.all()],
        "models": channel.model_names,
        "mapping": channel.mapping,
        "settings": channel.settings,
        "response_ms": own.response_ms if own else None,
        "tested_at": own.tested_at if own else None,
    }
