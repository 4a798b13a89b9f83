"""What all pages of the admin have in common: nothing is deleted, searches are bounded, long tables are not counted."""

from typing import TYPE_CHECKING, Any

from django.contrib import admin
from django.db.models import Model, QuerySet
from django.http import HttpRequest

if TYPE_CHECKING:
    from django.contrib.admin import ModelAdmin as UntypedAdmin

    ModelAdmin = UntypedAdmin[Any]
else:
    from unfold.admin import ModelAdmin

SEARCH_LIMIT = 100  # characters of a search text that reach the database


class StaffAdmin(ModelAdmin):
    """Rows are tombstoned by an action where they can go at all; charges name them by id for ever."""

    list_per_page = 50
    list_max_show_all = 200
    list_filter_submit = True
    show_full_result_count = False
    show_facets = admin.ShowFacets.NEVER
    compressed_fields = True
    warn_unsaved_form = True

    def has_delete_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        return False

    def get_search_results(self, request: HttpRequest, queryset: QuerySet[Any], search_term: str) -> tuple[QuerySet[Any], bool]:
        """Django escapes `%` and `_` in the text; this bounds its length (docs/security.md 30)."""
        return super().get_search_results(request, queryset, search_term[:SEARCH_LIMIT].replace("\x00", ""))


class ReadOnlyAdmin(StaffAdmin):
    """Rows that only the machine writes: money moves through acts, never through a form."""

    warn_unsaved_form = False

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        return False
