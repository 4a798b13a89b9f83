"""Admin of people: who may sign in, in which group, and who is banned.

`UserAdmin` is registered by billing/admin/people.py, which adds the wallet: imports point down, and wallets lie above people.
"""

from typing import TYPE_CHECKING, Any, ClassVar

from allauth.mfa.models import Authenticator
from django.contrib import admin, messages
from django.contrib.auth.admin import UserAdmin as DjangoUserAdmin
from django.contrib.auth.models import Group as Role
from django.core.exceptions import PermissionDenied
from django.db.models import Count, Model, Q, QuerySet
from django.http import HttpRequest
from django.utils import timezone
from django.utils.translation import gettext_lazy as _
from django.utils.translation import ngettext
from unfold.decorators import display
from unfold.forms import AdminPasswordChangeForm, UserChangeForm

from accounts.forms import GroupForm, NewUserForm
from accounts.models import PPM, Group, User
from accounts.ranks import acting, may_act_on, within_reach
from accounts.staff_admin import StaffAdmin

if TYPE_CHECKING:
    PeopleAdmin = DjangoUserAdmin[User]
else:
    PeopleAdmin = DjangoUserAdmin

admin.site.unregister(Role)


class SuperusersOnly:
    """Mixed into the admin of rows that grant power: a permission to edit them would be a way up."""

    def has_module_permission(self, request: HttpRequest) -> bool:
        return bool(request.user.is_active and request.user.is_superuser)

    def has_add_permission(self, request: HttpRequest) -> bool:
        return self.has_module_permission(request)

    def has_change_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        return self.has_module_permission(request)

    def has_view_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        return self.has_module_permission(request)


@admin.register(Role)
class RoleAdmin(SuperusersOnly, StaffAdmin):
    """Sets of permissions for staff."""

    search_fields = ("name",)
    fields: ClassVar = ["name", "permissions"]
    filter_horizontal = ("permissions",)


@admin.register(Group)
class GroupAdmin(StaffAdmin):
    """Groups, and what their members pay in proportion to the list price."""

    form = GroupForm
    list_display = ("name", "description", "ratio", "members")
    search_fields = ("name", "description")
    fields: ClassVar = ["name", "description", "ratio_ppm"]

    def get_queryset(self, request: HttpRequest) -> QuerySet[Group]:
        rows: QuerySet[Group] = super().get_queryset(request)
        return rows.annotate(people=Count("users", filter=Q(users__deleted_at__isnull=True)))

    @display(description=_("price ratio"), ordering="ratio_ppm")
    def ratio(self, group: Group) -> str:
        return f"×{ratio_text(group.ratio_ppm)}"

    @display(description=_("users"), ordering="people")
    def members(self, group: Group) -> int:
        return int(getattr(group, "people", 0))


def ratio_text(ppm: int) -> str:
    """1,000,000 → "1.0", 500,000 → "0.5", 1,250,000 → "1.25"."""
    whole, rest = divmod(ppm, PPM)
    return f"{whole}.{f'{rest:06d}'.rstrip('0') or '0'}"


class UserAdmin(StaffAdmin, PeopleAdmin):
    """People. Banning closes the console and every token at once; nobody is deleted."""

    form = UserChangeForm
    add_form = NewUserForm
    change_password_form = AdminPasswordChangeForm
    list_display: Any = ("person", "group", "state", "last_login")
    list_select_related = ("group",)
    list_filter: ClassVar[Any] = ("group", "is_active", "is_staff")
    search_fields = ("username", "email", "display_name", "remark")
    ordering = ("-id",)
    autocomplete_fields = ("group",)
    filter_horizontal = ("groups", "user_permissions")
    actions: Any = ("enable", "ban", "reset_second_factor", "tombstone")
    readonly_fields: ClassVar[Any] = ("last_login", "date_joined")
    add_fieldsets = ((None, {"fields": ("username", "email", "group", "password1", "password2")}),)
    fieldsets: ClassVar[Any] = (
        (None, {"fields": ("username", "password", "display_name", "email", "group", "remark")}),
        (_("Standing"), {"fields": ("is_active", "unlimited", "is_staff", "is_superuser")}),
        (_("Staff permissions"), {"fields": ("groups", "user_permissions"), "classes": ("collapse",)}),
        (_("Dates"), {"fields": ("date_joined", "last_login")}),
    )

    def get_queryset(self, request: HttpRequest) -> QuerySet[User]:
        return super().get_queryset(request).filter(deleted_at__isnull=True)

    def get_fieldsets(self, request: HttpRequest, obj: Any = None) -> Any:
        """Only superusers see the fields that grant power; a form has no field that it does not show."""
        if obj is None:
            return self.add_fieldsets
        shown: Any = super().get_fieldsets(request, obj)
        if request.user.is_superuser:
            return shown
        power = {"is_staff", "is_superuser", "groups", "user_permissions", "unlimited"}
        kept = [(title, {**options, "fields": tuple(name for name in options["fields"] if name not in power)}) for title, options in shown]
        return [(title, options) for title, options in kept if options["fields"]]

    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> Any:
        """A superuser cannot lock himself out."""
        own = ("is_active", "is_staff", "is_superuser") if obj is not None and obj.pk == request.user.pk else ()
        return (*super().get_readonly_fields(request, obj), *own)

    def has_change_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        return super().has_change_permission(request, obj) and (not isinstance(obj, User) or may_act_on(request.user, obj))

    def user_change_password(self, request: HttpRequest, id: str, form_url: str = "") -> Any:
        """Django's own view, after the question of rank: a password is the way into an account."""
        target = self.get_object(request, id)
        if target is not None and not self.has_change_permission(request, target):
            raise PermissionDenied
        return super().user_change_password(request, id, form_url)

    def lookup_allowed(self, lookup: str, value: str, request: HttpRequest) -> bool:
        return not lookup.startswith("password") and super().lookup_allowed(lookup, value, request)

    @display(description=_("user"), ordering="username", header=True)
    def person(self, user: User) -> list[str]:
        return [user.username, user.display_name or user.email, user.username[:2]]

    @display(
        description=_("standing"),
        ordering="is_active",
        label={"banned": "danger", "superuser": "primary", "staff": "info", "user": "success"},
    )
    def state(self, user: User) -> tuple[str, Any]:
        if not user.is_active:
            return "banned", _("banned")
        if user.is_superuser:
            return "superuser", _("superuser")
        return ("staff", _("staff")) if user.is_staff else ("user", _("active"))

    def reachable(self, request: HttpRequest, queryset: QuerySet[User]) -> QuerySet[User]:
        """Of the chosen users those that this person may act on; says how many were left out."""
        allowed = queryset.filter(within_reach(request.user))
        left_out = queryset.count() - allowed.count()
        if left_out:
            text = ngettext("%d user beyond your rank was left out.", "%d users beyond your rank were left out.", left_out)
            messages.warning(request, text % left_out)
        return allowed

    @admin.action(description=_("Enable (lift the ban)"), permissions=["change"])
    def enable(self, request: HttpRequest, queryset: QuerySet[User]) -> None:
        changed = self.reachable(request, queryset).update(is_active=True)
        messages.success(request, ngettext("%d user enabled.", "%d users enabled.", changed) % changed)

    @admin.action(description=_("Ban (closes console and tokens)"), permissions=["change"])
    def ban(self, request: HttpRequest, queryset: QuerySet[User]) -> None:
        changed = self.reachable(request, queryset).exclude(pk=acting(request).pk).update(is_active=False)
        messages.success(request, ngettext("%d user banned.", "%d users banned.", changed) % changed)

    @admin.action(description=_("Reset the second factor"), permissions=["change"])
    def reset_second_factor(self, request: HttpRequest, queryset: QuerySet[User]) -> None:
        users = list(self.reachable(request, queryset))
        Authenticator.objects.filter(user__in=users).delete()
        for user in users:
            self.log_change(request, user, [{"changed": {"fields": ["second factor"]}}])
        messages.success(request, ngettext("%d second factor reset.", "%d second factors reset.", len(users)) % len(users))

    @admin.action(description=_("Delete (keeps their records)"), permissions=["change"])
    def tombstone(self, request: HttpRequest, queryset: QuerySet[User]) -> None:
        users = self.reachable(request, queryset).exclude(pk=acting(request).pk)
        changed = users.update(is_active=False, deleted_at=timezone.now())
        messages.success(request, ngettext("%d user deleted.", "%d users deleted.", changed) % changed)
