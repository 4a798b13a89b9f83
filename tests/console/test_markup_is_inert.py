"""Markup in names, models, errors and notes comes out as text, and the policy lets no script of a page run (docs/security.md 24)."""

from html.parser import HTMLParser

import pytest
from django.urls import reverse

from accounts.models import Group, User
from billing.models import LedgerEntry, RedeemCode, UsageRecord
from channels_app.models import Channel, ChannelState
from gateway.models import Token
from tests.console.routes import routes
from tests.console.rows import World, signed_in, superuser, world

pytestmark = pytest.mark.django_db
CORPUS = (
    "<script>alert(1)</script><img src=x onerror=alert(1)>",
    "\"><svg/onload=alert(1)>' onmouseover='alert(1)",
    "javascript:alert(1)",
    '" x-on:click="alert(1)" x-data="{{ alert(1) }}',
    "</textarea></title><script>alert(1)</script>",
)


class Suspicion(HTMLParser):
    """Collects what a page could run: script text, handlers, javascript: addresses, and elements of the corpus."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []
        self.in_script = False

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.in_script = tag == "script" and "application/json" not in {value for name, value in attrs if name == "type"}
        for name, value in attrs:
            text = value or ""
            runs = name.startswith(("x-", "@", ":", "hx-"))
            leads = name in {"href", "src", "action", "formaction", "data", "srcdoc"}
            if name.startswith("on") or (leads and text.lower().strip().startswith("javascript:")) or (runs and "alert" in text) or text == "x":
                self.found.append(f"<{tag} {name}={text[:80]}>")

    def handle_endtag(self, tag: str) -> None:
        self.in_script = False

    def handle_data(self, data: str) -> None:
        if self.in_script and data.strip():
            self.found.append(f"<script>{data[:80]}")


@pytest.fixture
def rows() -> World:
    return world()


def poison(rows: World, text: str) -> None:
    """Puts a text into every field that comes from outside."""
    User.objects.filter(pk=rows.user.pk).update(display_name=text[:64], remark=text, first_name=text, email=f"{text[:40]}@x.example")
    Group.objects.filter(name="default").update(description=text)
    Token.objects.filter(pk=rows.token.pk).update(name=text[:64], allowed_models=[text])
    Channel.objects.filter(pk=rows.channel.pk).update(
        name=text, remark=text, model_names=[text], mapping={text: text}, settings={text: text}, system_prompt=text, test_model=text
    )
    ChannelState.objects.filter(channel=rows.channel).update(reason=text, test_error=text, balance_currency=text[:8])
    RedeemCode.objects.update(batch=text[:64])
    LedgerEntry.objects.update(reason=text)
    UsageRecord.objects.filter(pk=rows.record.pk).update(
        model=text,
        model_served=text + "2",
        endpoint=text[:40],
        group=text,
        upstream_request_id=text,
        client_ip=text[:45],
        detail={"lines": [[text, 1, 1, 1]], "attempts": [{"channel": 1, "key": text, "status": 500, "error": text}], "error": text, "flags": [text]},
    )


@pytest.mark.parametrize("text", CORPUS)
def test_no_page_runs_what_a_row_says(rows: World, text: str) -> None:
    poison(rows, text)
    admin, owner = signed_in(superuser()), signed_in(rows.user)
    for visitor in (admin, owner):
        for route in routes(rows):
            if "jsi18n" in route.address or "autocomplete" in route.address:
                continue
            answer = visitor.get(route.address)
            if "html" in answer.headers.get("Content-Type", ""):
                page = Suspicion()
                page.feed(answer.content.decode())
                assert page.found == [], route.address


def test_no_page_relies_on_script_text(rows: World) -> None:
    """So that the policy needs no 'unsafe-inline' for scripts."""
    client = signed_in(superuser())
    for route in routes(rows):
        policy = client.get(route.address).headers.get("Content-Security-Policy", "")
        scripts = next(part for part in policy.split(";") if part.strip().startswith("script-src"))
        assert "unsafe-inline" not in scripts
        assert "*" not in policy
        for directive in ("object-src 'none'", "base-uri 'none'", "frame-ancestors 'none'", "form-action 'self'", "default-src 'none'"):
            assert directive in policy
        if not route.shape.startswith("admin/"):
            assert "unsafe" not in policy, route


def test_messages_are_text(rows: World) -> None:
    page = signed_in(rows.user).post(reverse("portal:redeem"), {"code": "<b>x</b>"}, follow=True).content.decode()
    assert "<b>x" not in page
