"""Below a sub-path everything works the same, whether the proxy in front strips the prefix or keeps it."""

import re
import urllib.error
import urllib.request

import pytest

from tests.server import start_server

pytestmark = pytest.mark.slow
HOW = ["stripped", "kept"]


def get(server, path, **headers):
    request = urllib.request.Request(server.url + path, headers={name.replace("_", "-"): value for name, value in headers.items()})
    try:
        with urllib.request.urlopen(request, timeout=20) as answer:
            return answer.status, answer.headers, answer.read()
    except urllib.error.HTTPError as error:
        return error.code, error.headers, error.read()


@pytest.fixture(scope="module", params=["setting", "header"])
def below(request, tmp_path_factory):
    """(server, headers that the proxy adds): the prefix is a setting, or said by a trusted proxy."""
    settings = {"TRUSTED_PROXIES": "127.0.0.0/8"} | ({"FORCE_SCRIPT_NAME": "/one-api"} if request.param == "setting" else {})
    server = start_server(tmp_path_factory.mktemp("below"), "sqlite", **settings)
    yield server, {} if request.param == "setting" else {"X_Forwarded_Prefix": "/one-api"}
    server.kill()


@pytest.fixture(params=HOW)
def seen(request, below):
    """A function from the browser's path to the answer."""
    server, headers = below
    return lambda path, **more: get(server, path if request.param == "kept" else path.removeprefix("/one-api"), **headers, **more)


def test_relay_paths_answer_in_their_own_shape(seen):
    for path in ("/one-api/v1/models", "/one-api/v1//models", "/one-api/dashboard/billing/usage"):
        status, headers, body = seen(path)
        assert (status, headers["content-type"]) == (401, "application/json")
        assert b'"invalid_api_key"' in body


def test_the_sign_in_page_is_found_and_its_links_carry_the_prefix(seen):
    status, _, body = seen("/one-api/admin/")
    page = body.decode()

    assert status == 200, "the redirect to the sign-in page was followed"
    assert 'action="/one-api/accounts/login/' in page or 'name="next"' in page
    assert not re.findall(r'(?:href|src|action)="/(?!one-api/)[^"/][^"]*"', page)


def test_static_files_are_served_below_the_prefix(seen):
    links = re.findall(r'(?:href|src)="(/one-api/static/[^"]+\.(?:css|js))"', seen("/one-api/accounts/login/")[2].decode())

    assert links
    for link in links:
        assert seen(link)[0] == 200


def test_cookies_are_secure_only_behind_https(below):
    server, headers = below

    plain = get(server, "/accounts/login/", **headers)[1].get_all("set-cookie")
    secure = get(server, "/accounts/login/", X_Forwarded_Proto="https", **headers)[1].get_all("set-cookie")

    assert plain
    assert not any("Secure" in cookie for cookie in plain)
    assert all("Secure" in cookie for cookie in secure)
