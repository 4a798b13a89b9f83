"""Tokens are counted offline, whatever the text is."""

import asyncio
import hashlib
import subprocess
import sys

import pytest

from billing import tokens
from wire.peek import read_head

WITHOUT_A_NETWORK = """
import socket
def refuse(*args, **kwargs):
    raise OSError("no network in this test")
socket.socket.connect = socket.getaddrinfo = socket.create_connection = refuse
from billing.tokens import count_text
print(count_text("hello world"))
import sys
print("django" in sys.modules)
"""


def test_it_counts_without_a_network_and_without_django() -> None:
    done = subprocess.run([sys.executable, "-c", WITHOUT_A_NETWORK], capture_output=True, text=True, check=True)

    assert done.stdout.split() == ["2", "False"]


def test_the_vendored_ranks_are_the_published_ones() -> None:
    ranks = (tokens.DATA / "fb374d419588a4632f3f557e76b4b70aebbca790").read_bytes()

    assert hashlib.sha256(ranks).hexdigest() == "446a9538cb6c348e3516120d7c08b09f57c36495e2acfffe59a5bf8b0cfb1a2d"


@pytest.mark.parametrize(
    "text",
    ["a" * 300_000, " " * 300_000, "é" * 100_000, "的" * 100_000, "\ud800 lone", "<|endoftext|>", "\x00", "word " * 50_000],
    ids=lambda text: text[:3],
)
def test_no_text_makes_it_fail_or_exceeds_a_token_a_byte(text: str) -> None:
    assert 0 < tokens.count_text(text) <= len(text.encode("utf-8", "surrogatepass"))


def test_a_request_counts_its_text_and_its_frame() -> None:
    head = read_head(b'{"model": "gpt-4o", "messages": [{"role": "user", "content": [{"type": "text", "text": "hello world"}]}]}')

    assert tokens.count_request(head) == 2 + tokens.PER_MESSAGE + tokens.PER_ANSWER


def test_an_images_address_is_no_text() -> None:
    image = b'{"type": "image_url", "image_url": {"url": "data:image/png;base64,' + b"A" * 10_000 + b'", "detail": "low"}}'
    head = read_head(b'{"model": "gpt-4o", "messages": [{"role": "user", "content": [' + image + b"]}]}")

    assert tokens.count_request(head) == 85 + tokens.PER_MESSAGE + tokens.PER_ANSWER


@pytest.mark.parametrize(("given", "count"), [(b'"hello world"', 2), (b'["hello world", "hello"]', 3), (b"[1, 2, 3]", 3), (b"[[1, 2], [3]]", 3)])
def test_prompts_and_inputs_count_in_all_their_shapes(given: bytes, count: int) -> None:
    for field in (b"prompt", b"input"):
        assert tokens.count_request(read_head(b'{"model": "m", "' + field + b'": ' + given + b"}")) == count


async def test_long_texts_do_not_hold_the_event_loop() -> None:
    ticks = 0

    async def tick() -> None:
        nonlocal ticks
        while True:
            ticks += 1
            await asyncio.sleep(0)

    ticking = asyncio.create_task(tick())
    text = "word " * 100_000
    assert await tokens.off_loop(tokens.count_text, text, len(text)) == pytest.approx(100_000, abs=20)
    ticking.cancel()

    assert ticks > 1
