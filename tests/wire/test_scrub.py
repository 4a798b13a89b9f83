"""An upstream's message is passed on without keys, hosts and account ids, and stays readable."""

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wire.errors import MESSAGE_LIMIT, scrub

KEY = "a-Key/of=our+Channel.9"


@pytest.mark.parametrize(
    "secret",
    [
        "sk-proj-abcdEFGH1234567890_-xyz",
        "sk-ant-api03-AbCdEf-123456",
        "sk-pro********************wxyz",
        "abcd1234************wxyz",
        "AKIAIOSFODNN7EXAMPLE",
        "AIzaSyA1234567890abcdefghijklmnopqrstuv",
        "ya29.a0AfH6SMBx-1234",
        "xai-abcdefgh12345678",
        "gsk_abcdefgh12345678",
        "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.c2lnbmF0dXJl",
        "-----BEGIN PRIVATE KEY-----\nMIIEvQ\nIBADAN\n-----END PRIVATE KEY-----",
        "https://my-resource.openai.azure.com/openai/deployments/x?api-key=123",
        "wss://spark-api.xf-yun.com/v3.5/chat?authorization=abc",
        "api.internal.example.com:8443",
        "model-server.svc.cluster.local",
        "localhost:11434",
        "10.12.0.7:8000",
        "[2001:db8::17]:443",
        "fe80::1",
        "billing@example.com",
        "org-AbCdEf123456",
        "proj_AbCdEf123456",
        "acct_1AbCdEf23456",
        "arn:aws:iam::123456789012:user/gateway",
        "123456789012",
        "7f6d1c1e-0b5e-4d5a-9c55-0c1d2e3f4a5b",
        "0123456789abcdef0123456789abcdef",
    ],
)
def test_what_looks_secret_is_removed(secret: str) -> None:
    for text in (f"Refused: {secret} is not valid.", f'{{"detail":"{secret}"}}', f"key={secret}"):
        cleaned = scrub(text, [])

        assert secret.replace("\n", " ").strip("[]") not in cleaned
        assert "[" in cleaned


@pytest.mark.parametrize(
    ("text", "left"),
    [
        ("Authorization: Bearer abc.def", "Authorization: Bearer [key]"),
        ("header 'Basic dXNlcjpwYXNz'", "header 'Basic [key]'"),
        ("quota of account 4815162342 is used up", "quota of account [id] is used up"),
        ("project: my-project-4711 has no access", "project: [id] has no access"),
        ("Incorrect API key provided: sk-abc***xyz. Try again.", "Incorrect API key provided: [key] Try again."),
    ],
)
def test_what_is_left_can_be_read(text: str, left: str) -> None:
    assert scrub(text, []) == left


@pytest.mark.parametrize(
    "text",
    [
        "This model's maximum context length is 128000 tokens. However, your messages resulted in 130,112 tokens.",
        "The model `gpt-4.1-mini-2025-04-14` does not exist or you do not have access to it.",
        "Unsupported value: 'temperature' does not support 0.5 with this model. Only the default (1) value is supported.",
        "Rate limit reached at 12:30:45 for claude-3.5-sonnet: try again in 1.2s.",
        "Invalid 'messages[0].content': string too long. Expected max 10 * 2.",
        "模型不存在，请检查后再试。",
    ],
)
def test_ordinary_messages_stay_as_they_are(text: str) -> None:
    assert scrub(text, [KEY]) == text


@pytest.mark.parametrize("shape", [KEY, "a-Key%2Fof%3Dour%2BChannel.9"])
def test_a_given_secret_is_removed_whatever_it_looks_like(shape: str) -> None:
    assert scrub(f"bad key ({shape})", [KEY]) == "bad key ([key])"


def test_the_parts_of_a_composed_key_are_removed() -> None:
    assert scrub("AppId id-12345678 with zzzzSecret", ["id-12345678|zzzzSecret"]) == "AppId [key] with [key]"


def test_a_secret_cut_by_control_characters_is_removed() -> None:
    assert scrub("bad key: a-Key/of=\x00our+\u200bChannel.9", [KEY]) == "bad key: [key]"


def test_the_longer_secret_goes_first() -> None:
    assert scrub("abcdef-and-more", ["abcdef", "abcdef-and-more"]) == "[key]"


def test_a_short_secret_does_not_eat_the_text() -> None:
    assert scrub("a banana", ["a", ""]) == "a banana"


def test_control_characters_and_line_ends_go() -> None:
    assert scrub("one\r\n\ttwo\x00\x1b[31m \u202ethree\u2028four\ud800", []) == "one two[31m three four"


@given(
    text=st.lists(
        st.sampled_from(["sk-", "a", ":", "*", "@", ".", "com", " ", "-----BEGIN X-----", "1", "\x00", "你", "\ud800", "account", "://"]), max_size=60
    )
)
def test_any_text_comes_out_bounded_and_printable(text: list[str]) -> None:
    cleaned = scrub("".join(text), [KEY])

    assert len(cleaned) <= MESSAGE_LIMIT
    assert cleaned.isprintable()
    cleaned.encode()


@pytest.mark.parametrize(
    "piece", ["a", "*", "a.", "1.", "a:", ":", "-", "sk-", "a@", "a*", "a.com", "1:", "account ", "-----BEGIN ", "eyJ", "a-", "://", "arn:"]
)
def test_a_long_hostile_text_takes_no_time(piece: str) -> None:
    began = time.perf_counter()

    scrub(piece * 200_000, [KEY])

    assert time.perf_counter() - began < 2
