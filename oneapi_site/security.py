"""Response headers of the console: a Content-Security-Policy that keeps foreign scripts out of admin and portal.

https://developer.mozilla.org/docs/Web/HTTP/Guides/CSP
"""

from collections.abc import Callable

from django.http import HttpRequest, HttpResponse

_SHARED = (
    "default-src 'none'; connect-src 'self'; font-src 'self'; img-src 'self' data:; object-src 'none'; base-uri 'none'; form-action 'self'; "
    "frame-ancestors 'none'; manifest-src 'self'"
)
PORTAL_POLICY = f"{_SHARED}; script-src 'self'; style-src 'self'"
# Unfold's Alpine evaluates expressions that stand in attributes, and its theme sets inline styles: no script text in a page runs all the same.
ADMIN_POLICY = f"{_SHARED}; script-src 'self' 'unsafe-eval'; style-src 'self' 'unsafe-inline'"


class SecurityHeadersMiddleware:
    """Adds the policy to every page of the console and keeps its pages out of caches. (Cookies: oneapi_site/front.py.)"""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        response = self.get_response(request)
        match = request.resolver_match
        admin = match is not None and "admin" in match.app_names
        response.headers.setdefault("Content-Security-Policy", ADMIN_POLICY if admin else PORTAL_POLICY)
        response.headers.setdefault("Permissions-Policy", "camera=(), geolocation=(), microphone=()")
        response.headers.setdefault("Cache-Control", "private, no-store")
        return response
