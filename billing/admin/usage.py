"""The usage log: every request, through which channel it went, how its charge came about. Only the ledger writes here; a refund is an act."""

import uuid
from typing import Any, ClassVar, cast

from django.apps import apps
from django.contrib import admin
from django.core.exceptions import PermissionDenied
from django.db.models import Q, QuerySet
from django.http import Http404, HttpRequest, HttpResponse
from django.template.loader import render_to_string
from django.utils.html import format_html
from django.utils.translation import gettext_lazy as _
from unfold.contrib.filters.admin import ChoicesDropdownFilter, DropdownFilter, RangeDateTimeFilter, TextFilter
from unfold.decorators import action, display
from unfold.paginator import InfinitePaginator

from accounts.models import User
from accounts.ranks import acting, may_act_on
from accounts.staff_admin import ReadOnlyAdmin
from billing import acts
from billing.admin.acts import AmountForm, act_page
from billing.charge_text import spell_out
from billing.display import moment, name_of, usd, usd_cell
from billing.models import LedgerEntry, UsageQuerySet, UsageRecord


def ids_named(label: str, text: str, column: str = "name") -> list[int]:
    """Ids of the rows of that exact name, and the id itself where the text is a number."""
    rows: Any = apps.get_model(label)._base_manager
    found = list(rows.filter(**{column: text[:150]}).values_list("pk", flat=True)[:1000])
    return [*found, int(text)] if text.isascii() and text.isdigit() and len(text) < 18 else found


class UserFilter(TextFilter):
    title = _("user")
    parameter_name = "user"

    def queryset(self, request: HttpRequest, queryset: QuerySet[UsageRecord]) -> QuerySet[UsageRecord]:
        value = self.value()
        return queryset.filter(user_id__in=ids_named("accounts.User", value, "username")) if value else queryset


class TokenFilter(TextFilter):
    title = _("token")
    parameter_name = "token"

    def queryset(self, request: HttpRequest, queryset: QuerySet[UsageRecord]) -> QuerySet[UsageRecord]:
        value = self.value()
        return queryset.filter(token_id__in=ids_named("gateway.Token", value)) if value else queryset


class ModelFilter(TextFilter):
    title = _("model")
    parameter_name = "model"

    def queryset(self, request: HttpRequest, queryset: QuerySet[UsageRecord]) -> QuerySet[UsageRecord]:
        value = self.value()
        return queryset.filter(model=value[:200]) if value else queryset


class ChannelFilter(DropdownFilter):
    title = _("channel")
    parameter_name = "channel"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        rows: Any = apps.get_model("channels_app.Channel")._base_manager
        return [(str(pk), name) for pk, name in rows.order_by("name").values_list("pk", "name")[:500]]

    def queryset(self, request: HttpRequest, queryset: QuerySet[UsageRecord]) -> QuerySet[UsageRecord]:
        value = self.value()
        return queryset.filter(channel_id=int(value)) if value and value.isascii() and value.isdigit() else queryset


@admin.register(UsageRecord)
class UsageRecordAdmin(ReadOnlyAdmin):
    """Not counted, and paged without an end: the log may hold hundreds of millions of rows."""

    list_display = ("when", "user_name", "token_name", "model_asked", "channel_name", "mode", "tokens", "charge", "ending", "timing")
    list_filter: ClassVar[Any] = (
        ("at", RangeDateTimeFilter),
        UserFilter,
        TokenFilter,
        ModelFilter,
        ChannelFilter,
        ("ended", ChoicesDropdownFilter),
        ("type", ChoicesDropdownFilter),
    )
    search_fields = ("model",)
    search_help_text = _("A request's id, or a model's exact name.")
    ordering = ("-at",)
    paginator = InfinitePaginator
    list_fullwidth = True
    fields = ("facts", "spelled_out")
    readonly_fields = ("facts", "spelled_out")

    actions_detail = ("refund",)

    def get_object(self, request: HttpRequest, object_id: str, from_field: str | None = None) -> UsageRecord | None:
        """By the time inside the id: one partition, one key."""
        try:
            identity = uuid.UUID(object_id)
        except ValueError:
            return None
        return cast(UsageQuerySet, self.get_queryset(request)).with_id(identity).first()

    def has_refund_permission(self, request: HttpRequest, object_id: str | None = None) -> bool:
        """Staff with the right to add ledger entries, on charges of lower ranks."""
        if not request.user.has_perm("billing.add_ledgerentry"):
            return False
        record = self.get_object(request, str(object_id)) if object_id else None
        owner = User.objects.filter(pk=record.user_id).first() if record else None
        return owner is None or may_act_on(request.user, owner)

    @action(description=_("Refund"), icon="undo", url_path="refund", permissions=["refund"])
    def refund(self, request: HttpRequest, object_id: str) -> HttpResponse:
        record = self.get_object(request, object_id)
        if record is None:
            raise Http404
        if not self.has_refund_permission(request, object_id):
            raise PermissionDenied

        def act(cleaned: dict[str, Any]) -> LedgerEntry:
            explained = {"author": acting(request), "reason": cleaned["reason"], "reference": cleaned["reference"]}
            return acts.refund(record.pk, cleaned["amount"], **explained)

        left = record.amount - record.refunded
        figures = {"amount": usd(record.amount), "refunded": usd(record.refunded), "left": usd(left)}
        texts = {
            "title": _("Refund a charge of %(user)s") % {"user": self.user_name(record)},
            "intro": _("Charged %(amount)s, of which %(refunded)s was given back already and %(left)s is left. The token's limit keeps it as used.")
            % figures,
            "submit_text": _("Refund"),
        }
        return act_page(self, request, record, AmountForm(request.POST or None, initial={"amount": left}), texts, act)

    def get_queryset(self, request: HttpRequest) -> QuerySet[UsageRecord]:
        names = {
            "user_text": name_of("accounts.User", "user_id", "username"),
            "token_text": name_of("gateway.Token", "token_id"),
            "channel_text": name_of("channels_app.Channel", "channel_id"),
        }
        rows: QuerySet[UsageRecord] = super().get_queryset(request)
        return rows.annotate(**names)

    def get_search_results(self, request: HttpRequest, queryset: QuerySet[Any], search_term: str) -> tuple[QuerySet[Any], bool]:
        """Exact only, so that each search is one look into an index."""
        text = search_term.strip()
        if not text:
            return queryset, False
        try:
            return cast(UsageQuerySet, queryset).with_id(uuid.UUID(text)), False
        except ValueError:
            return queryset.filter(Q(model=text[:200].replace("\x00", ""))), False

    @display(description=_("time"), ordering="at")
    def when(self, record: UsageRecord) -> str:
        return moment(record.at, seconds=True)

    @display(description=_("user"))
    def user_name(self, record: UsageRecord) -> str:
        return getattr(record, "user_text", None) or f"#{record.user_id}"

    @display(description=_("token"))
    def token_name(self, record: UsageRecord) -> str:
        return getattr(record, "token_text", None) or f"#{record.token_id}"

    @display(description=_("channel"))
    def channel_name(self, record: UsageRecord) -> str:
        if not record.channel_id:
            return "–"
        return getattr(record, "channel_text", None) or f"#{record.channel_id}"

    @display(description=_("model"))
    def model_asked(self, record: UsageRecord) -> str:
        if record.model_served and record.model_served != record.model:
            return format_html('{}<span class="served" title="{}">→ {}</span>', record.model, _("model served"), record.model_served)
        return record.model

    @display(description=_("mode"))
    def mode(self, record: UsageRecord) -> str:
        return str(_("stream") if record.stream else _("plain"))

    @display(description=_("tokens in / out"))
    def tokens(self, record: UsageRecord) -> str:
        counted = format_html(' <span title="{}">~</span>', _("counted by us")) if record.counted else ""
        return format_html('<span class="figure">{} / {}</span>{}', f"{record.input_tokens:,}", f"{record.output_tokens:,}", counted)

    @display(description=_("amount"), ordering="amount")
    def charge(self, record: UsageRecord) -> str:
        return usd_cell(record.amount)

    @display(
        description=_("ended"),
        ordering="ended",
        label={"done": "success", "partial": "warning", "abandoned": "warning", "failed": "danger", "empty": "danger"},
    )
    def ending(self, record: UsageRecord) -> tuple[str, Any]:
        short = {"partial": _("partial"), "abandoned": _("abandoned"), "empty": _("empty")}
        return record.ended, short.get(record.ended) or record.get_ended_display()

    @display(description=_("ms (first token)"), ordering="duration_ms")
    def timing(self, record: UsageRecord) -> str:
        first = f" ({record.first_token_ms:,})" if record.first_token_ms is not None else ""
        return format_html('<span class="figure">{}{}</span>', f"{record.duration_ms:,}", first)

    @display(description=_("request"))
    def facts(self, record: UsageRecord) -> str:
        return render_to_string("admin/billing/usagerecord/request.html", {"record": record})

    @display(description=_("the charge"))
    def spelled_out(self, record: UsageRecord) -> str:
        channels: Any = apps.get_model("channels_app.Channel")._base_manager
        text = spell_out(record)
        named = dict(channels.filter(pk__in=[attempt.channel_id for attempt in text.attempts]).values_list("pk", "name"))
        return render_to_string("admin/billing/usagerecord/charge.html", {"record": record, "charge": text, "channels": named})
