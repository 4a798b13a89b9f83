"""Admin of tokens. The one who issues a token sees its key once; afterwards only its owner may, and never here."""

from typing import Any, ClassVar

from django.contrib import admin, messages
from django.core.exceptions import PermissionDenied
from django.db.models import Model, Q, QuerySet
from django.http import Http404, HttpRequest, HttpResponse
from django.http.response import HttpResponseBase
from django.template.response import TemplateResponse
from django.utils import timezone
from django.utils.translation import gettext_lazy as _
from django.utils.translation import ngettext
from unfold.contrib.filters.admin import AutocompleteSelectFilter, DropdownFilter
from unfold.decorators import action, display

from accounts.models import User
from accounts.ranks import acting, may_act_on, within_reach
from accounts.staff_admin import StaffAdmin
from billing import wallets
from billing.admin.acts import act_page
from billing.admin.budgets import budget_page
from billing.admin.statements import statement_page
from billing.display import moment, usd, usd_cell
from billing.figures import with_figures
from billing.models import Kind, LimitChange
from gateway import tokens
from gateway.forms import IssueForm, TokenForm, TransferForm
from gateway.models import Token


class StateFilter(DropdownFilter):
    title = _("state")
    parameter_name = "state"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, Any]]:
        return [("active", _("active")), ("revoked", _("revoked")), ("expired", _("expired"))]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Token]) -> QuerySet[Token]:
        now = timezone.now()
        conditions = {
            "active": Q(enabled=True) & (Q(expires_at__isnull=True) | Q(expires_at__gt=now)),
            "revoked": Q(enabled=False),
            "expired": Q(expires_at__lte=now),
        }
        return queryset.filter(conditions.get(self.value() or "", Q()))


@admin.register(Token)
class TokenAdmin(StaffAdmin):
    """Tokens of people of a lower rank, and one's own."""

    list_display = ("name", "owner", "ends_in", "state", "remaining_usd", "used_usd", "models_text", "group", "expires", "created")
    list_select_related = ("user", "group")
    list_filter: ClassVar[Any] = (StateFilter, ("user", AutocompleteSelectFilter), "unlimited")
    search_fields = ("name", "=hint", "user__username")
    search_help_text = _("A name, a user, or the last characters of a key.")
    ordering = ("-id",)
    autocomplete_fields = ("user", "group")
    actions = ("revoke", "enable", "tombstone")
    readonly_fields = ("owner", "ends_in", "remaining_usd", "used_usd", "created_at")
    add_fieldsets: ClassVar = (
        (None, {"fields": ("user", "name", "limit", "unlimited", "expires_at")}),
        (_("Restrictions"), {"fields": ("group", "allowed_models", "allowed_subnets")}),
    )
    fieldsets: ClassVar = (
        (None, {"fields": (("owner", "ends_in"), "name", "enabled", "expires_at")}),
        (_("Limit"), {"fields": (("remaining_usd", "used_usd"), "unlimited", "new_remaining")}),
        (_("Restrictions"), {"fields": ("group", "allowed_models", "allowed_subnets")}),
        (_("Dates"), {"fields": ("created_at",)}),
    )

    actions_detail = ("statement", "budgets", "transfer")

    def has_transfer_permission(self, request: HttpRequest, object_id: str | None = None) -> bool:
        """Whoever may edit the token's limit."""
        token = self.get_object(request, str(object_id)) if object_id else None
        return self.has_change_permission(request, token)

    @action(description=_("Transfer its limit"), icon="swap_horiz", url_path="transfer", permissions=["transfer"])
    def transfer(self, request: HttpRequest, object_id: str) -> HttpResponse:
        token = self.get_object(request, object_id)
        if token is None:
            raise Http404
        if not self.has_transfer_permission(request, object_id):
            raise PermissionDenied

        def act(cleaned: dict[str, Any]) -> LimitChange:
            explained = {"author": acting(request), "reason": cleaned["reason"], "reference": cleaned["reference"]}
            return tokens.transfer(token, cleaned["target"], cleaned["amount"], **explained)

        texts = {
            "title": _("Transfer a part of the limit of %(token)s") % {"token": token},
            "intro": _("%(amount)s of its limit is left. It goes to another token of %(user)s.")
            % {"amount": _("An unlimited amount") if token.unlimited else usd(getattr(token, "remaining", 0)), "user": token.user},
            "submit_text": _("Transfer"),
        }
        return act_page(self, request, token, TransferForm(token, request.POST or None), texts, act)

    has_budgets_permission = has_transfer_permission

    @action(description=_("Budgets"), icon="calendar_month", url_path="budgets", permissions=["budgets"])
    def budgets(self, request: HttpRequest, object_id: str) -> HttpResponse:
        token = self.get_object(request, object_id)
        if token is None:
            raise Http404
        if not self.has_budgets_permission(request, object_id):
            raise PermissionDenied
        title = _("Budgets of the token %(token)s of %(user)s") % {"token": token, "user": token.user}
        return budget_page(self, request, token, "token", title)

    def has_statement_permission(self, request: HttpRequest, object_id: str | None = None) -> bool:
        """Staff who may see ledger entries. Not by its name alone: unfold asks the database for that at the system checks, before there is one."""
        return self.has_view_permission(request) and request.user.has_perm("billing.view_ledgerentry")

    @action(description=_("Statement"), icon="receipt_long", url_path="statement", permissions=["statement"])
    def statement(self, request: HttpRequest, object_id: str) -> HttpResponseBase:
        token = self.get_object(request, object_id)
        if token is None:
            raise Http404
        title = _("Statement of the token %(token)s of %(user)s") % {"token": token, "user": token.user}
        return statement_page(self, request, token, Kind.TOKEN, title)

    def get_queryset(self, request: HttpRequest) -> QuerySet[Token]:
        return with_figures(super().get_queryset(request).filter(deleted_at__isnull=True), Kind.TOKEN)

    def get_form(self, request: HttpRequest, obj: Any = None, change: bool = False, **kwargs: Any) -> Any:
        kwargs["form"] = TokenForm if obj else IssueForm
        return super().get_form(request, obj, change, **kwargs)

    def get_fieldsets(self, request: HttpRequest, obj: Any = None) -> Any:
        if obj is None or self.has_change_permission(request, obj):
            return super().get_fieldsets(request, obj)
        return [(title, {"fields": tuple(line for line in options["fields"] if line != "new_remaining")}) for title, options in self.fieldsets]

    def formfield_for_foreignkey(self, db_field: Any, request: HttpRequest, **kwargs: Any) -> Any:
        if db_field.name == "user":
            kwargs["queryset"] = User.objects.filter(self.reach(request), deleted_at__isnull=True)
        return super().formfield_for_foreignkey(db_field, request, **kwargs)

    def reach(self, request: HttpRequest) -> Q:
        """The users whose tokens this person may issue and change."""
        return within_reach(request.user) | Q(pk=request.user.pk)

    def has_change_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        allowed = super().has_change_permission(request, obj)
        return allowed and (not isinstance(obj, Token) or obj.user_id == request.user.pk or may_act_on(request.user, obj.user))

    def save_model(self, request: HttpRequest, obj: Token, form: Any, change: bool) -> None:
        cleaned = form.cleaned_data
        if change:
            columns = [name for name in form.changed_data if name not in {"new_remaining"}]
            if columns:
                obj.save(update_fields=columns)
            if cleaned.get("new_remaining") is not None:
                wallets.set_limit(Kind.TOKEN, obj.pk, cleaned["new_remaining"], author=acting(request), reason="admin")
            return
        token, key = tokens.issue_token(
            cleaned["user"],
            cleaned["name"],
            limit_nano=cleaned["limit"],
            unlimited=cleaned["unlimited"],
            models=cleaned["allowed_models"],
            subnets=cleaned["allowed_subnets"],
            group=cleaned["group"],
            expires_at=cleaned["expires_at"],
        )
        obj.pk, obj.hint, obj.key = token.pk, token.hint, key

    def response_add(self, request: HttpRequest, obj: Token, post_url_continue: str | None = None) -> HttpResponse:
        """The answer to the form itself shows the key: it stands in no message, session or address."""
        context = {
            **self.admin_site.each_context(request),
            "opts": self.opts,
            "original": obj,
            "title": _("The token is issued"),
            "token": obj,
            "key": obj.key,
        }
        response = TemplateResponse(request, "admin/gateway/token/issued.html", context)
        response.headers["Cache-Control"] = "no-store"
        return response

    @display(description=_("user"), ordering="user__username")
    def owner(self, token: Token) -> str:
        return token.user.username

    @display(description=_("key"))
    def ends_in(self, token: Token) -> str:
        return f"sk-…{token.hint}"

    @display(description=_("state"), label={"active": "success", "revoked": "danger", "expired": "warning"})
    def state(self, token: Token) -> tuple[str, Any]:
        if not token.enabled:
            return "revoked", _("revoked")
        if token.expires_at is not None and token.expires_at <= timezone.now():
            return "expired", _("expired")
        return "active", _("active")

    @display(description=_("remaining"))
    def remaining_usd(self, token: Token) -> str:
        return str(_("unlimited")) if token.unlimited else usd_cell(getattr(token, "remaining", 0))

    @display(description=_("used"))
    def used_usd(self, token: Token) -> str:
        return usd_cell(getattr(token, "used", 0))

    @display(description=_("models"))
    def models_text(self, token: Token) -> str:
        names = token.allowed_models
        return (", ".join(names[:2]) + (f" +{len(names) - 2}" if len(names) > 2 else "")) if names else str(_("all"))

    @display(description=_("expires"), ordering="expires_at")
    def expires(self, token: Token) -> str:
        return moment(token.expires_at)

    @display(description=_("created"), ordering="created_at")
    def created(self, token: Token) -> str:
        return moment(token.created_at)

    def reachable(self, request: HttpRequest, queryset: QuerySet[Token]) -> list[Token]:
        """The chosen tokens that this person may change; says how many were left out."""
        allowed = list(queryset.filter(user__in=User.objects.filter(self.reach(request))))
        left_out = queryset.count() - len(allowed)
        if left_out:
            text = ngettext("%d token beyond your rank was left out.", "%d tokens beyond your rank were left out.", left_out)
            messages.warning(request, text % left_out)
        return allowed

    def change_all(self, request: HttpRequest, queryset: QuerySet[Token], **values: Any) -> int:
        """Changes the chosen tokens and writes it in each one's history; returns how many."""
        chosen = self.reachable(request, queryset)
        for token in chosen:
            Token.objects.filter(pk=token.pk).update(**values)
            self.log_change(request, token, [{"changed": {"fields": list(values)}}])
        return len(chosen)

    @admin.action(description=_("Revoke"), permissions=["change"])
    def revoke(self, request: HttpRequest, queryset: QuerySet[Token]) -> None:
        changed = self.change_all(request, queryset, enabled=False)
        messages.success(request, ngettext("%d token revoked.", "%d tokens revoked.", changed) % changed)

    @admin.action(description=_("Enable"), permissions=["change"])
    def enable(self, request: HttpRequest, queryset: QuerySet[Token]) -> None:
        changed = self.change_all(request, queryset, enabled=True)
        messages.success(request, ngettext("%d token enabled.", "%d tokens enabled.", changed) % changed)

    @admin.action(description=_("Delete (keeps their records)"), permissions=["change"])
    def tombstone(self, request: HttpRequest, queryset: QuerySet[Token]) -> None:
        changed = self.change_all(request, queryset, enabled=False, deleted_at=timezone.now(), key="")
        messages.success(request, ngettext("%d token deleted.", "%d tokens deleted.", changed) % changed)
