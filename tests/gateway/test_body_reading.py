"""Security point 27: a body is judged by its size before it is read, and never takes more memory than its limit, compressed or not."""

import gzip
import tracemalloc
import zlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway import call as call_module
from gateway.call import Call, ClientGone, inflate
from tests.gateway.asgi_client import Client, scope_of
from wire.errors import BadRequest, BodyTooLarge, UnsupportedMedia

LIMIT = 1000


def sent(pieces, leaves=False, **headers):
    """The body's sender, and the call that reads it."""
    client = Client(pieces, leaves)
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return client, Call(scope_of("POST", "/v1/chat/completions", named, "192.0.2.1"), client.receive, client.send, "/v1/chat/completions")


@pytest.mark.parametrize("pieces", [[b""], [b"abc"], [b"a", b"", b"bc"], [b"x" * 500, b"y" * 500]])
async def test_a_body_comes_whole(pieces):
    _, call = sent(pieces)
    assert await call.body(LIMIT) == b"".join(pieces)


@pytest.mark.parametrize("declared", ["1001", "9" * 18, "9" * 5000])
async def test_27_a_declared_length_is_judged_before_a_byte_is_read(declared):
    client, call = sent([b"x"], content_length=declared)
    with pytest.raises(BodyTooLarge):
        await call.body(LIMIT)
    assert client.read == 0


@pytest.mark.parametrize("declared", ["", "-5", "abc", "1e9", "5, 5", "0x10"])
async def test_a_length_that_is_no_number_is_left_to_the_count(declared):
    _, call = sent([b"x"], content_length=declared)
    assert await call.body(LIMIT) == b"x"


async def test_27_reading_stops_at_the_limit():
    client, call = sent([b"x" * 400] * 100)
    with pytest.raises(BodyTooLarge):
        await call.body(LIMIT)
    assert client.read == 1200


async def test_a_client_that_leaves_in_the_middle():
    _, call = sent([b"x", b"y"], leaves=True)
    with pytest.raises(ClientGone):
        await call.body(LIMIT)
    assert call.gone


@pytest.mark.parametrize("encoding", ["gzip", "GZIP", "x-gzip"])
async def test_a_compressed_body_is_read_as_a_plain_one(encoding):
    _, call = sent([gzip.compress(b'{"model":"m"}')], content_encoding=encoding)
    assert await call.body(LIMIT) == b'{"model":"m"}'


@pytest.mark.parametrize("encoding", ["br", "zstd", "deflate", "gzip, gzip", "gzip,identity", "nonsense"])
async def test_another_encoding_is_refused(encoding):
    _, call = sent([b"x"], content_encoding=encoding)
    with pytest.raises(UnsupportedMedia):
        await call.body(LIMIT)


async def test_27_a_gzip_bomb_takes_no_more_than_its_limit():
    bomb = gzip.compress(b"\x00" * (64 * 2**20))
    assert len(bomb) < 2**17
    limit = 2**20
    _, call = sent([bomb], content_encoding="gzip")
    tracemalloc.start()
    try:
        with pytest.raises(BodyTooLarge):
            await call.body(limit)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < limit + 4 * call_module.INFLATE_STEP


GOOD = gzip.compress(b"some text " * 50, mtime=0)  # the same bytes in every worker


@pytest.mark.parametrize(
    "bad",
    [b"", b"plain", GOOD[:-1], GOOD[:-8], GOOD[:5], GOOD + b"x", GOOD + GOOD, GOOD[:-8] + b"\x00" * 8, zlib.compress(b"zlib"), b"\x1f\x8b" * 40],
)
def test_bad_gzip_is_the_clients_fault(bad):
    with pytest.raises(BadRequest) as refused:
        inflate(bad, LIMIT)
    assert refused.value.code == "invalid_gzip"


@settings(deadline=None)
@given(st.binary(max_size=300), st.integers(1, 9), st.integers(0, 40))
def test_whatever_was_compressed_comes_back(seed, level, doublings):
    plain = seed * (2 ** (doublings % 14))
    assert inflate(gzip.compress(plain, level), len(plain)) == plain


@pytest.mark.parametrize("size", [call_module.INFLATE_STEP + step for step in (-1, 0, 1)] + [2 * call_module.INFLATE_STEP])
def test_sizes_about_a_step_come_back(size):
    plain = b"\x00" * size
    assert inflate(gzip.compress(plain), size) == plain
    with pytest.raises(BodyTooLarge):
        inflate(gzip.compress(plain), size - 1)
