"""What an upstream's error means: the client's own fault, or one for which another channel may be tried."""

import json

import pytest

from channels_app.registry import get

CUSTOM = get("custom")


def classified(status, error=None, headers=None, body=None):
    raw = body if body is not None else json.dumps({"error": error}).encode() if error is not None else b""
    return CUSTOM.classify(status, headers or {}, raw)


@pytest.mark.parametrize(
    ("status", "error", "kind"),
    [
        (400, {"message": "bad", "type": "invalid_request_error", "code": None}, "client"),
        (413, {"message": "too large"}, "client"),
        (415, {"message": "media type"}, "client"),
        (422, {"message": "unprocessable"}, "client"),
        (401, {"message": "who?"}, "key_dead"),
        (403, {"message": "gone", "code": "account_deactivated"}, "key_dead"),
        (400, {"message": "no", "code": "invalid_api_key"}, "key_dead"),
        (402, {"message": "pay"}, "no_credit"),
        (429, {"message": "pay", "type": "insufficient_quota", "code": "insufficient_quota"}, "no_credit"),
        (429, {"message": "pay", "code": "billing_hard_limit_reached"}, "no_credit"),
        (401, {"message": "pay", "code": "billing_not_active"}, "no_credit"),
        (429, {"message": "slow down", "type": "requests", "code": "rate_limit_exceeded"}, "rate_limited"),
        (403, {"message": "country"}, "elsewhere"),
        (404, {"message": "no such model", "code": "model_not_found"}, "elsewhere"),
        (405, {"message": "method"}, "elsewhere"),
        (408, {"message": "timeout"}, "elsewhere"),
        (409, {"message": "conflict"}, "elsewhere"),
        (500, {"message": "oops"}, "elsewhere"),
        (502, None, "elsewhere"),
        (503, {"message": "overloaded"}, "elsewhere"),
        (529, {"message": "overloaded"}, "elsewhere"),
        (302, None, "elsewhere"),
    ],
)
def test_the_verdict(status, error, kind):
    assert classified(status, error).kind == kind


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b'{"error":{"message":"in an object"}}', "in an object"),
        (b'{"error":"a text"}', "a text"),
        (b'{"message":"beside"}', "beside"),
        (b'{"msg":"short"}', "short"),
        (b'{"error_msg":"baidu"}', "baidu"),
        (b'{"detail":"fastapi"}', "fastapi"),
        (b"<html>Bad Gateway</html>", "<html>Bad Gateway</html>"),
        (b"", "The upstream answered with status 500."),
        (b"[]", "[]"),
        (b'{"error":{"message":{"nested":1}}}', "The upstream answered with status 500."),
        (b'{"error":' + b"[" * 5000, "["),
        (b"\xff\xfe", "\ufffd\ufffd"),
    ],
)
def test_the_message_is_found_wherever_it_stands(body, message):
    assert message in classified(500, body=body).message


def test_codes_come_as_texts_or_numbers():
    verdict = classified(400, {"message": "x", "code": 1113, "type": None, "param": "messages"})
    assert (verdict.code, verdict.type, verdict.param) == ("1113", None, "messages")
    assert classified(400, {"message": "x", "code": True}).code is None


@pytest.mark.parametrize(
    ("given", "seconds"),
    [("7", 7.0), ("0.5", 0.5), ("", None), ("soon", None), ("-1", None), ("1e9", None), ("nan", None), ("Wed, 21 Oct 2026 07:28:00 GMT", None)],
)
def test_retry_after(given, seconds):
    assert classified(429, headers={"retry-after": given}).retry_after == seconds
