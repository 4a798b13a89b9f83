"""The tour of an operator in a real browser: sign in, add a channel, issue a token, send a request with the SDK, see it in the log."""

import re
import time
from collections.abc import Iterator

import openai
import pytest
from playwright.sync_api import Page, expect

from tests.server import ADMIN_PASSWORD, Server

# pytest-base-url, which playwright's plugin brings, defines its fixture in a way that pytest 9 announces to drop.
OF_THE_PLUGIN = pytest.mark.filterwarnings("ignore:Session-scoped fixtures:pytest.PytestRemovedIn10Warning")
pytestmark = [pytest.mark.slow, pytest.mark.timeout(300), OF_THE_PLUGIN]


@pytest.fixture
def quiet(page: Page) -> Iterator[Page]:
    """A page on which any error of script or policy fails the test."""
    problems: list[str] = []
    page.on("pageerror", lambda error: problems.append(str(error)))
    page.on("console", lambda message: problems.append(message.text) if message.type == "error" else None)
    yield page
    assert problems == []


def sign_in(page: Page, server: Server) -> None:
    page.goto(f"{server.url}/admin/")
    expect(page).to_have_url(re.compile(r"/accounts/login/\?next="))
    page.fill("[name=login]", "admin")
    page.fill("[name=password]", ADMIN_PASSWORD)
    page.get_by_role("button", name="Sign in").click()
    expect(page.get_by_role("heading", name="Overview").first).to_be_visible()


def add_channel(page: Page, server: Server) -> None:
    page.goto(f"{server.url}/admin/channels_app/channel/add/")
    page.select_option("[name=provider]", "echo")
    page.fill("[name=name]", "Parrot")
    page.fill("[name=model_names]", "echo")
    expect(page.locator(".field-groups .select2-selection")).to_contain_text("default")  # chosen already
    page.get_by_role("button", name="Save", exact=True).click()
    expect(page.locator("#result_list")).to_contain_text("Parrot")


def issue_token(page: Page, server: Server) -> str:
    page.goto(f"{server.url}/admin/gateway/token/add/")
    page.locator(".field-user .select2-selection").click()
    page.locator(".select2-results__option", has_text="admin").click()
    page.fill("[name=name]", "first")
    page.locator("[name=unlimited]").check()
    page.get_by_role("button", name="Save", exact=True).click()
    key = page.locator("#issued-key").input_value()
    assert re.fullmatch(r"sk-[A-Za-z0-9]{48}", key)
    return key


def ask(server: Server, key: str) -> str:
    """One request with the SDK, repeated until the relay knows the new channel and token (it promises a second)."""
    client = openai.OpenAI(base_url=f"{server.url}/v1", api_key=key, max_retries=0)
    deadline = time.monotonic() + 20
    while True:
        try:
            answer = client.chat.completions.create(model="echo", messages=[{"role": "user", "content": "hello there"}])
            return answer.choices[0].message.content or ""
        except openai.APIStatusError:
            assert time.monotonic() < deadline
            time.sleep(0.2)


def test_from_sign_in_to_the_usage_log(server: Server, quiet: Page) -> None:
    sign_in(quiet, server)
    add_channel(quiet, server)
    key = issue_token(quiet, server)
    assert "hello there" in ask(server, key)
    quiet.goto(f"{server.url}/admin/billing/usagerecord/")
    row = quiet.locator("#result_list tbody tr").first
    for text in ("admin", "first", "echo", "Parrot"):
        expect(row).to_contain_text(text)
    row.locator("a").first.click()
    expect(quiet.locator(".charge-total")).to_contain_text("$")
    assert key.removeprefix("sk-") not in quiet.content()


def test_the_portal_shows_it_to_its_owner(server: Server, quiet: Page) -> None:
    sign_in(quiet, server)
    quiet.goto(f"{server.url}/")
    expect(quiet.locator(".card", has_text="Recent requests")).to_contain_text("echo")
    quiet.set_viewport_size({"width": 390, "height": 844})
    assert quiet.evaluate("document.documentElement.scrollWidth <= innerWidth")
