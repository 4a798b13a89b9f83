"""What an operator changes takes effect in the running relay within a second: from the command line, a form, a bulk action. On both databases."""

import json
import re
import time
from concurrent.futures import ThreadPoolExecutor
from decimal import Decimal
from html.parser import HTMLParser

import httpx
import pytest

from tests.e2e.arrange import EXACT, MODEL, add_channel, add_token, add_user, client, until
from tests.server import ADMIN_PASSWORD

pytestmark = pytest.mark.slow
PROMISE = 1.0  # seconds


@pytest.fixture(scope="module")
def ready(server, simulator):
    add_channel(server, simulator.url)
    return server


def ask(http):
    return http.post("/v1/chat/completions", json=EXACT).status_code


def within_a_second(condition):
    """The change was committed when this is called."""
    until(condition, PROMISE)


@pytest.fixture
def admin(ready):
    """A signed-in administrator's browser, as far as forms go."""
    with httpx.Client(base_url=ready.url, follow_redirects=True, timeout=30) as http:
        page = http.get("/accounts/login/")
        answer = http.post("/accounts/login/", data={"login": "admin", "password": ADMIN_PASSWORD, "csrfmiddlewaretoken": token_of(page)})
        assert answer.status_code == 200
        assert "sessionid" in http.cookies
        yield http


def token_of(page):
    return re.search(r'name="csrfmiddlewaretoken" value="([^"]+)"', page.text)[1]


def post(http, path, data):
    answer = http.post(path, data={**data, "csrfmiddlewaretoken": token_of(http.get(path))})
    assert answer.status_code == 200, answer.text[:2000]
    return answer


class Form(HTMLParser):
    """The fields of a page's forms as a browser would send them back."""

    def __init__(self, page):
        super().__init__()
        self.fields = {}
        self.area = self.choice = None
        self.feed(page.text)

    def handle_starttag(self, tag, attributes):
        given = dict(attributes)
        name = given.get("name")
        if tag == "input" and name and given.get("type") not in {"submit", "button", "file"}:
            if given.get("type") not in {"checkbox", "radio"} or "checked" in given:
                self.fields.setdefault(name, []).append(given.get("value") or ("on" if given.get("type") == "checkbox" else ""))
        elif tag == "textarea" and name:
            self.area = name
            self.fields[name] = [""]
        elif tag == "select":
            self.choice = name
        elif tag == "option" and self.choice and "selected" in given:
            self.fields.setdefault(self.choice, []).append(given.get("value", ""))

    def handle_endtag(self, tag):
        if tag == "textarea":
            self.area = None
        elif tag == "select":
            self.choice = None

    def handle_data(self, data):
        if self.area:
            self.fields[self.area][0] += data.removeprefix("\n")


def test_a_form_in_the_admin(ready, admin):
    with client(ready, add_token(ready, "admin", "form")) as http:
        until(lambda: ask(http) == 200)
        channel = json.loads(ready.manage("channel", "list", "--json").stdout)[0]["id"]
        path = f"/admin/channels_app/channel/{channel}/change/"
        for enabled, status in ((False, 503), (True, 200)):
            fields = Form(admin.get(path)).fields
            fields.pop("enabled", None)
            if enabled:
                fields["enabled"] = ["on"]
            assert admin.post(path, data=fields, follow_redirects=False).status_code == 302
            within_a_second(lambda expected=status: ask(http) == expected)


def test_user_credit(ready):
    add_user(ready, "credited")
    with client(ready, add_token(ready, "credited")) as http:
        until(lambda: ask(http) == 403)
        ready.manage("user", "credit", "--user", "credited", "--usd", "1")
        within_a_second(lambda: ask(http) == 200)


def test_token_revoke(ready):
    with client(ready, add_token(ready, "admin", "revoked")) as http:
        until(lambda: ask(http) == 200)
        ready.manage("token", "revoke", "--token", "revoked")
        within_a_second(lambda: ask(http) == 401)


def test_channel_disable_and_enable(ready):
    with client(ready, add_token(ready, "admin", "watching")) as http:
        until(lambda: ask(http) == 200)
        ready.manage("channel", "disable", "--channel", "mock")
        within_a_second(lambda: ask(http) == 503)
        ready.manage("channel", "enable", "--channel", "mock")
        within_a_second(lambda: ask(http) == 200)


def test_user_disable(ready):
    add_user(ready, "banned", "1")
    with client(ready, add_token(ready, "banned")) as http:
        until(lambda: ask(http) == 200)
        ready.manage("user", "disable", "--user", "banned")
        within_a_second(lambda: ask(http) == 403)


def test_a_bulk_action_in_the_admin(ready, admin):
    with client(ready, add_token(ready, "admin", "bulk")) as http:
        until(lambda: ask(http) == 200)
        page = admin.get("/admin/channels_app/channel/")
        chosen = re.search(r'name="_selected_action" value="(\d+)"', page.text)[1]
        post(admin, "/admin/channels_app/channel/", {"action": "disable", "_selected_action": chosen})
        within_a_second(lambda: ask(http) == 503)
        post(admin, "/admin/channels_app/channel/", {"action": "enable", "_selected_action": chosen})
        within_a_second(lambda: ask(http) == 200)


def test_a_price_applies_from_the_next_request_on(ready):
    ready.manage("price", "set", "--model", "priced-later", "--input", "1", "--output", "1")
    with client(ready, add_token(ready, "admin", "priced")) as http:
        ready.manage("price", "set", "--model", MODEL, "--input", "1000", "--output", "1000")
        time.sleep(PROMISE)
        assert ask(http) == 200
    rows = ready.manage("shell", "-v0", "-c", "from billing.models import UsageRecord as U; print(U.objects.latest('at').amount)").stdout
    assert int(rows) == 35 * 1_000_000


def test_a_redeem_code_posted_a_hundred_times_at_once_credits_once(ready, admin):
    add_user(ready, "redeemer")
    code = ready.manage("redeem", "mint", "--count", "1", "--usd", "5").stdout.strip()
    with httpx.Client(base_url=ready.url, follow_redirects=False, timeout=60, limits=httpx.Limits(max_connections=100)) as http:
        page = http.get("/accounts/login/")
        http.post("/accounts/login/", data={"login": "redeemer", "password": "a password of their own", "csrfmiddlewaretoken": token_of(page)})
        form = token_of(http.get("/portal/redeem"))
        with ThreadPoolExecutor(100) as pool:
            list(pool.map(lambda _: http.post("/portal/redeem", data={"code": code, "csrfmiddlewaretoken": form}), range(100)))
    row = json.loads(ready.manage("user", "list", "--user", "redeemer", "--json").stdout)[0]
    assert Decimal(row["usd"]) == 5
    assert ready.manage("audit", "--json").returncode == 0
