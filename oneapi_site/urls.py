"""Pages of the console: admin, sign-in, portal. The relay's paths are not here: oneapi_site/asgi.py takes them first."""

from allauth.account.decorators import secure_admin_login
from django.contrib import admin
from django.urls import include, path

# One sign-in for everybody: throttled, and with the second factor where there is one. Django's own form would pass both by.
admin.site.login = secure_admin_login(admin.site.login)  # type: ignore[method-assign]  # as allauth's documentation says

urlpatterns = [
    path("admin/", admin.site.urls),
    path("accounts/", include("accounts.urls")),
    path("i18n/", include("django.conf.urls.i18n")),
    path("", include("gateway.portal_urls")),
]
