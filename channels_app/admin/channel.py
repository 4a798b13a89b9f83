"""Admin of channels: what the operator configures, beside what the machine observed."""

from typing import TYPE_CHECKING, Any, ClassVar

from django.contrib import admin, messages
from django.core.exceptions import PermissionDenied
from django.db.models import Count, F, Model, Prefetch, Q, QuerySet
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.shortcuts import get_object_or_404
from django.template.response import TemplateResponse
from django.utils import timezone
from django.utils.html import format_html
from django.utils.translation import gettext_lazy as _
from django.utils.translation import ngettext
from unfold.contrib.filters.admin import DropdownFilter
from unfold.decorators import action, display

from accounts.staff_admin import StaffAdmin
from billing.display import moment
from channels_app import channels, registry
from channels_app.admin.form import ChannelForm, provider_choices
from channels_app.health import test_channel
from channels_app.models import Channel, ChannelKey, ChannelState

if TYPE_CHECKING:
    from django.contrib.admin import TabularInline as UntypedInline

    TabularInline = UntypedInline[ChannelKey, Channel]
else:
    from unfold.admin import TabularInline

PLAIN = (
    "provider", "name", "base_url", "model_names", "mapping", "priority", "weight", "enabled", "auto_disable", "system_prompt", "settings",
    "test_model", "remark",
)  # fmt: skip


class StaleForm(Exception):
    """The row's version rose between the form's check and its save."""


class ProviderFilter(DropdownFilter):
    title = _("provider")
    parameter_name = "provider"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return provider_choices()

    def queryset(self, request: HttpRequest, queryset: QuerySet[Channel]) -> QuerySet[Channel]:
        value = self.value()
        return queryset.filter(provider=value) if value else queryset


class StatusFilter(DropdownFilter):
    title = _("state")
    parameter_name = "state"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, Any]]:
        return [("serving", _("serving")), ("automatic", _("disabled automatically")), ("disabled", _("disabled"))]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Channel]) -> QuerySet[Channel]:
        automatic = Q(states__key__isnull=True, states__status=ChannelState.Status.DISABLED)
        conditions = {"serving": Q(enabled=True) & ~automatic, "automatic": automatic, "disabled": Q(enabled=False)}
        condition = conditions.get(self.value() or "")
        return queryset if condition is None else queryset.filter(condition)


class KeyInline(TabularInline):
    """The saved keys: their last characters and what the machine knows of them. They are switched off and removed, never read."""

    model = ChannelKey
    extra = 0
    fields = ("ending", "enabled", "condition")
    readonly_fields = ("ending", "condition")
    verbose_name_plural = _("saved keys")
    tab = True

    def has_add_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        return False

    def get_queryset(self, request: HttpRequest) -> QuerySet[ChannelKey]:
        return super().get_queryset(request).prefetch_related("states")

    @display(description=_("ends in"))
    def ending(self, key: ChannelKey) -> str:
        return f"…{key.hint}"

    @display(description=_("automatic status"))
    def condition(self, key: ChannelKey) -> str:
        state = next(iter(key.states.all()), None)
        if state is None:
            return "–"
        return f"{state.get_status_display()} {state.reason}".strip()


@admin.register(Channel)
class ChannelAdmin(StaffAdmin):
    """Saves changed fields only, and only onto the version that was shown."""

    form = ChannelForm
    list_display = ("title", "state", "models_count", "group_names", "order", "health", "upstream_balance")
    list_filter: ClassVar[Any] = (ProviderFilter, StatusFilter, "groups")
    search_fields = ("name", "remark", "base_url")
    ordering = ("-priority", "id")
    actions = ("enable", "disable", "test", "tombstone")
    actions_detail = ("test_now",)
    inlines = (KeyInline,)
    autocomplete_fields = ("groups",)
    fieldsets: ClassVar = (
        (None, {"fields": ("seen_version", "provider", "name", "base_url", "new_keys", "keep_keys", "model_names", "groups")}),
        (_("Routing"), {"fields": (("priority", "weight"), ("enabled", "auto_disable"), "mapping", "test_model")}),
        (_("Requests"), {"fields": ("system_prompt", "settings", "new_proxy", "new_headers", "drop_secrets")}),
        (_("Notes"), {"fields": ("remark",)}),
        (_("Observed"), {"fields": (("observed", "created_at", "updated_at"),)}),
    )
    readonly_fields = ("observed", "created_at", "updated_at")

    def get_queryset(self, request: HttpRequest) -> QuerySet[Channel]:
        own = Prefetch("states", ChannelState.objects.filter(key__isnull=True), to_attr="own_states")
        rows: QuerySet[Channel] = super().get_queryset(request)
        return rows.filter(deleted_at__isnull=True).prefetch_related("groups", own).annotate(key_count=Count("keys", filter=Q(keys__enabled=True)))

    def get_fieldsets(self, request: HttpRequest, obj: Any = None) -> Any:
        """A new channel has nothing observed, and no saved secrets to keep or forget."""
        late = set() if obj else {"keep_keys", "drop_secrets", "observed", "created_at", "updated_at"}
        if obj is not None and not self.has_change_permission(request, obj):
            late = {"seen_version", "new_keys", "keep_keys", "new_proxy", "new_headers", "drop_secrets"}
        shown = []
        for title, options in self.fieldsets:
            fields = tuple(kept for line in options["fields"] if (kept := without(line, late)))
            if fields:
                shown.append((title, {**options, "fields": fields}))
        return shown

    def get_inlines(self, request: HttpRequest, obj: Any) -> Any:
        return self.inlines if obj else ()

    def save_model(self, request: HttpRequest, obj: Channel, form: Any, change: bool) -> None:
        """Writes what changed; `StaleForm` where somebody was faster."""
        cleaned = form.cleaned_data
        secrets = {"proxy": cleaned.get("new_proxy", ""), "extra_headers": cleaned.get("new_headers", "")}
        if not change:
            obj.proxy, obj.extra_headers = secrets["proxy"], secrets["extra_headers"]
            obj.save()
        else:
            wanted = {name: cleaned[name] for name in PLAIN if name in form.changed_data}
            if cleaned.get("drop_secrets"):
                wanted |= {"proxy": "", "extra_headers": ""}
            wanted |= {name: value for name, value in secrets.items() if value}
            rows = Channel.objects.filter(pk=obj.pk, version=cleaned["seen_version"])
            if not rows.update(**wanted, version=F("version") + 1, updated_at=timezone.now()):
                raise StaleForm
            obj.version = cleaned["seen_version"] + 1
        if cleaned.get("new_keys"):
            channels.set_keys(obj, cleaned["new_keys"], keep=bool(cleaned.get("keep_keys")))

    def changeform_view(self, request: HttpRequest, object_id: Any = None, form_url: str = "", extra_context: Any = None) -> Any:
        try:
            return super().changeform_view(request, object_id, form_url, extra_context)
        except StaleForm:
            messages.error(request, _("Somebody else changed this channel since you opened it. Repeat your change on what is shown now."))
            return HttpResponseRedirect(request.get_full_path())

    def construct_change_message(self, request: HttpRequest, form: Any, formsets: Any, add: bool = False) -> Any:
        """The history names fields, never values; here they are already translated labels."""
        return super().construct_change_message(request, form, formsets, add)

    @display(description=_("channel"), ordering="name", header=True)
    def title(self, channel: Channel) -> list[str]:
        provider = registry.PROVIDERS.get(channel.provider)
        return [channel.name, provider.name if provider else channel.provider, channel.provider[:2]]

    @display(description=_("state"), label={"serving": "success", "automatic": "danger", "disabled": "warning", "keyless": "danger"})
    def state(self, channel: Channel) -> tuple[str, Any]:
        observed = own_state(channel)
        if not channel.enabled:
            return "disabled", _("disabled")
        if observed is not None and observed.status == ChannelState.Status.DISABLED:
            return "automatic", _("disabled automatically")
        provider = registry.PROVIDERS.get(channel.provider)
        if provider is not None and provider.needs_key and not getattr(channel, "key_count", 0):
            return "keyless", _("no key")
        return "serving", _("serving")

    @display(description=_("models"))
    def models_count(self, channel: Channel) -> str:
        names = channel.model_names
        more = f" +{len(names) - 2}" if len(names) > 2 else ""
        return format_html('<span title="{}">{}{}</span>', ", ".join(names[:50]), ", ".join(names[:2]) or "–", more)

    @display(description=_("groups"))
    def group_names(self, channel: Channel) -> str:
        return ", ".join(group.name for group in channel.groups.all()) or "–"

    @display(description=_("priority / weight"), ordering="priority")
    def order(self, channel: Channel) -> str:
        return format_html('<span class="figure">{} / {}</span>', channel.priority, channel.weight)

    @display(description=_("response"))
    def health(self, channel: Channel) -> str:
        state = own_state(channel)
        if state is not None and state.test_error:
            figure = format_html('<span class="figure figure-negative" title="{}">{}</span>', state.test_error, _("failed"))
        elif state is None or state.response_ms is None:
            return "–"
        else:
            figure = format_html('<span class="figure">{} ms</span>', f"{state.response_ms:,}")
        return format_html('{}<span class="served">{}</span>', figure, moment(state.tested_at))

    @display(description=_("upstream balance"))
    def upstream_balance(self, channel: Channel) -> str:
        state = own_state(channel)
        if state is None or state.balance is None:
            return "–"
        return format_html('<span class="figure">{} {}</span>', f"{state.balance:,.2f}", state.balance_currency)

    @display(description=_("state"))
    def observed(self, channel: Channel) -> str:
        state = own_state(channel)
        if state is None:
            return str(_("Not tested yet."))
        parts = [state.get_status_display(), state.reason, state.test_error]
        parts += [f"{state.response_ms:,} ms"] if state.response_ms is not None else []
        return " · ".join(part for part in parts if part)

    @admin.action(description=_("Enable (also clears the automatic status)"), permissions=["change"])
    def enable(self, request: HttpRequest, queryset: QuerySet[Channel]) -> None:
        chosen = list(queryset)
        for channel in chosen:
            channels.enable_channel(channel)
            self.log_change(request, channel, [{"changed": {"fields": ["enabled"]}}])
        messages.success(request, ngettext("%d channel enabled.", "%d channels enabled.", len(chosen)) % len(chosen))

    @admin.action(description=_("Disable"), permissions=["change"])
    def disable(self, request: HttpRequest, queryset: QuerySet[Channel]) -> None:
        chosen = list(queryset)
        for channel in chosen:
            channels.disable_channel(channel)
            self.log_change(request, channel, [{"changed": {"fields": ["enabled"]}}])
        messages.success(request, ngettext("%d channel disabled.", "%d channels disabled.", len(chosen)) % len(chosen))

    @admin.action(description=_("Delete (keeps their records)"), permissions=["change"])
    def tombstone(self, request: HttpRequest, queryset: QuerySet[Channel]) -> None:
        chosen = list(queryset)
        for channel in chosen:
            Channel.objects.filter(pk=channel.pk).update(enabled=False, deleted_at=timezone.now(), version=F("version") + 1)
            channel.keys.all().delete()
            self.log_change(request, channel, [{"changed": {"fields": ["deleted_at"]}}])
        messages.success(request, ngettext("%d channel deleted.", "%d channels deleted.", len(chosen)) % len(chosen))

    @admin.action(description=_("Test now"), permissions=["change"])
    def test(self, request: HttpRequest, queryset: QuerySet[Channel]) -> None:
        for channel in queryset[:20]:
            self.run_test(request, channel)

    def run_test(self, request: HttpRequest, channel: Channel) -> None:
        """One health test; its outcome as a message."""
        outcome = test_channel(channel)
        if outcome.error:
            messages.error(request, _("%(channel)s failed: %(error)s") % {"channel": channel, "error": outcome.error})
        else:
            messages.success(request, _("%(channel)s answered in %(ms)d ms.") % {"channel": channel, "ms": outcome.response_ms})

    @action(description=_("Test now"), icon="network_check", url_path="test", permissions=["change"])
    def test_now(self, request: HttpRequest, object_id: str) -> HttpResponse:
        channel = get_object_or_404(self.get_queryset(request), pk=object_id)
        if not self.has_change_permission(request, channel):
            raise PermissionDenied
        if request.method == "POST":
            self.run_test(request, channel)
            return HttpResponseRedirect(request.get_full_path().removesuffix("test/") + "change/")
        context = {
            **self.admin_site.each_context(request),
            "opts": self.opts,
            "original": channel,
            "title": _("Test %(channel)s") % {"channel": channel},
            "intro": _("Sends one short request to the upstream, which may cost a fraction of a cent there."),
            "submit_text": _("Test now"),
        }
        return TemplateResponse(request, "admin/act.html", context)


def own_state(channel: Channel) -> ChannelState | None:
    """What was observed of the channel as a whole."""
    states: list[ChannelState] = getattr(channel, "own_states", [])
    return states[0] if states else None


def without(line: Any, names: set[str]) -> Any:
    """A line of a fieldset (a name or a tuple of names) without these names."""
    if isinstance(line, str):
        return "" if line in names else line
    return tuple(name for name in line if name not in names)
