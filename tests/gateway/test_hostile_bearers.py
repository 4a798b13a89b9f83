"""Security points 3 and 29 through the relay's front door: one 401 form for whatever is no key, and a limit for those who go on."""

import json
import random
import string

from gateway.limits import Throttle
from tests.gateway.asgi_client import ask
from tests.gateway.in_memory import ADMIN_KEY, relay_app
from tests.gateway.known import KEY

SHAPES = [
    b"' OR '1'='1", b'"; DROP TABLE gateway_token; --', b"\x00", b"sk-" + b"a" * 47 + b"\x00", "ключ-密钥-🔑".encode(), b"\xff\xfe\xc3\x28",
    b"%00%27", b"${jndi:ldap://x}", b"{{7*7}}", b"../../etc/passwd", b"\xef\xbc\x87", b"sk-" + b"a" * 48 + b"'", b"-1", b"0", b"null", b"[]",
    b"sk-", b"a" * 48, b"sk-" + b"a" * 48 + b"-1", b"\r\nX: y", b"A" * 2**20, b"\x00" * 2**20,
]  # fmt: skip


def hostile(count: int) -> list[bytes]:
    """The table, mutations of real keys, random bytes; always the same."""
    dice = random.Random(3)
    found = list(SHAPES)
    while len(found) < count:
        real = bytearray(dice.choice([KEY, ADMIN_KEY]).encode())
        kind = dice.randrange(4)
        if kind == 0:
            place = dice.randrange(3, len(real))
            real[place] = (real[place] + dice.randrange(1, 256)) % 256
            found.append(bytes(real))
        elif kind == 1:
            found.append(bytes(real[: dice.randrange(3, len(real))]))
        elif kind == 2:
            found.append(bytes(real) + dice.choice(SHAPES[:12]))
        else:
            found.append(dice.randbytes(dice.randrange(200)) + dice.choice(string.punctuation).encode())
    return found


async def test_03_ten_thousand_hostile_bearers_get_one_form_of_401():
    app = relay_app()  # a query would fail: this test may not use the database
    app._throttle = Throttle(10**9)
    forms = set()
    for bearer in hostile(10_000):
        answer = await ask(app, "GET", "/v1/models", headers=[(b"authorization", b"Bearer " + bearer)])
        assert answer.status == 401
        error = answer.error()
        forms.add(json.dumps({**error, "message": error["message"].replace(answer.headers["x-request-id"], "")}))
    assert len(forms) == 1


async def test_29_bad_bearers_are_throttled_by_address_and_valid_keys_pass():
    app = relay_app()
    app._throttle = Throttle(limit=3)
    statuses = [(await ask(app, "GET", "/v1/models", key="sk-wrong")).status for _ in range(5)]
    assert statuses == [401, 401, 401, 429, 429]
    refused = await ask(app, "GET", "/v1/models", key="sk-wrong")
    assert refused.error()["code"] == "rate_limit_exceeded"
    assert int(refused.headers["retry-after"]) > 0
    assert (await ask(app, "GET", "/v1/models", key=KEY)).status == 200
    assert (await ask(app, "GET", "/v1/models", key="sk-wrong", peer="192.0.2.2")).status == 401


async def test_29_a_trusted_proxy_is_not_throttled_for_its_clients():
    app = relay_app(trusted_proxies=())
    app._throttle = Throttle(limit=1)
    for number in range(3):  # an untrusted peer cannot escape by what it says of itself
        headers = {"x-forwarded-for": f"198.51.100.{number}"}
        answer = await ask(app, "GET", "/v1/models", key="sk-wrong", headers=headers)
        assert answer.status == (401 if number == 0 else 429)
