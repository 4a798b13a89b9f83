"""Every error that a caller of the relay can meet, and how it is written in OpenAI's format.

One tree, so that one handler renders all of them and one test looks at all of them. Each leaf fixes its HTTP status, code and type; the
message is an English sentence that tells the caller what to do. Nobody is charged for any of them before content was delivered; after
content, the input and what was delivered are.

    GatewayError
    ├── BadRequest 400 invalid_request_error      the caller's to repair; never tried elsewhere
    │   ├── InvalidJSON 400 invalid_json
    │   ├── DuplicateField 400 duplicate_field
    │   ├── ModelMissing 400 model_missing
    │   ├── Unpriced 400 model_price_missing      an administrator's to repair
    │   ├── BodyTooLarge 413 body_too_large
    │   └── UnsupportedMedia 415 unsupported_media_type
    ├── Unauthorized 401 invalid_api_key
    ├── Forbidden 403 forbidden
    │   ├── ModelForbidden 403 model_not_allowed
    │   ├── AddressForbidden 403 address_not_allowed
    │   ├── UserBanned 403 user_banned
    │   └── ChannelPinForbidden 403 channel_pin_not_allowed
    ├── QuotaExhausted 403 insufficient_user_quota | pre_consume_token_quota_failed
    │   └── BudgetExhausted 429 budget_exhausted  Retry-After: when its next period begins
    ├── NotFound 404 not_found
    │   └── ModelNotFound 404 model_not_found
    ├── RateLimited 429 rate_limit_exceeded       Retry-After
    ├── NotImplementedByUs 501 api_not_implemented
    ├── NoChannel 503 no_available_channel
    ├── Unavailable 503 service_unavailable       Retry-After; database away, admission stopped, shutting down
    ├── LoopDetected 508 hop_limit
    ├── UpstreamFailed <the upstream's status> bad_response_status_code
    ├── UpstreamUnreachable 502 upstream_unreachable
    └── UpstreamTimeout 504 upstream_timeout      the last three: only when no other channel was left to try

Shape: https://platform.openai.com/docs/guides/error-codes. Statuses and codes are those of one-api where it has them.
"""

import ipaddress
import re
import unicodedata
from collections.abc import Iterable, Mapping
from urllib.parse import quote

import msgspec

from wire import sse

MESSAGE_LIMIT = 2_000
"""The longest text of an upstream that is passed on, in characters."""

_SHORTEST_SECRET = 4  # anything shorter is no secret, and removing it would only garble the text
_SCRUB_WINDOW = 16_000  # patterns are run over this many characters: more than can be passed on, few enough to be quick
_INVALID_REQUEST = "invalid_request_error"
_OURS = "one_api_error"
_UPSTREAM = "upstream_error"


class GatewayError(Exception):
    """The root: a status, a code, a type, a sentence, perhaps the field it is about and headers to send with it."""

    status: int = 500
    code: str = "internal_error"
    type: str = _OURS
    message: str = "The gateway failed to serve this request. Try again, and give the request id to the operator if it happens again."
    param: str | None = None

    def __init__(
        self,
        message: str | None = None,
        *,
        status: int | None = None,
        code: str | None = None,
        type: str | None = None,
        param: str | None = None,
        headers: Mapping[str, str] | None = None,
        retry_after: int | None = None,
    ) -> None:
        """What is left out keeps the class's own value; `retry_after` is in seconds and becomes the Retry-After header."""
        if message is not None:
            self.message = message
        if status is not None:
            self.status = status
        if code is not None:
            self.code = code
        if type is not None:
            self.type = type
        if param is not None:
            self.param = param
        self.headers: dict[str, str] = dict(headers or {})
        if retry_after is not None:
            self.headers["Retry-After"] = str(retry_after)
        super().__init__(self.message)


class BadRequest(GatewayError):
    status = 400
    code = "invalid_request"
    type = _INVALID_REQUEST
    message = "The request cannot be read. Compare it with the API reference and send it again."


class InvalidJSON(BadRequest):
    code = "invalid_json"
    message = "The body is not valid JSON. Send one JSON object, encoded in UTF-8."


class DuplicateField(BadRequest):
    code = "duplicate_field"
    message = "The body names a field twice. Send each field once."


class ModelMissing(BadRequest):
    code = "model_missing"
    message = "The body names no model. Set the field 'model'."
    param = "model"


class Unpriced(BadRequest):
    code = "model_price_missing"
    message = "This model has no price yet. Ask the operator to set one, or use another model."
    param = "model"


class BodyTooLarge(BadRequest):
    status = 413
    code = "body_too_large"
    message = "The body is larger than this gateway accepts. Send less."


class UnsupportedMedia(BadRequest):
    status = 415
    code = "unsupported_media_type"
    message = "The body's media type or encoding is not supported. Send application/json, plain or gzip-encoded."


class Unauthorized(GatewayError):
    status = 401
    code = "invalid_api_key"
    type = _INVALID_REQUEST
    message = "The API key is missing or not valid. Send a key of this gateway in the header 'Authorization: Bearer sk-...'."


class Forbidden(GatewayError):
    status = 403
    code = "forbidden"
    type = _INVALID_REQUEST
    message = "This API key is not allowed to do that. Use another key, or ask the operator."


class ModelForbidden(Forbidden):
    code = "model_not_allowed"
    message = "This API key is not allowed to use this model. Use one of the models that GET /v1/models lists."
    param = "model"


class AddressForbidden(Forbidden):
    code = "address_not_allowed"
    message = "This API key is not allowed from your address. Use it from one of its networks, or change them."


class UserBanned(Forbidden):
    code = "user_banned"
    message = "The owner of this API key is disabled. Ask the operator."


class ChannelPinForbidden(Forbidden):
    code = "channel_pin_not_allowed"
    message = "Only an administrator's API key may choose a channel. Leave the channel's number away from the key."


class QuotaExhausted(GatewayError):
    """Code `insufficient_user_quota` (the default) for the user's balance, `pre_consume_token_quota_failed` for the token's limit."""

    status = 403
    code = "insufficient_user_quota"
    type = "insufficient_quota"
    message = "The balance is not enough for this request. Add credit, or ask for less output with 'max_tokens'."


class BudgetExhausted(QuotaExhausted):
    """A budget by day, week or month, of the user or the token. 429, as it ends by itself; SDKs are told not to try again by themselves:
    https://github.com/openai/openai-python/blob/main/src/openai/_base_client.py reads `x-should-retry`, and waits no Retry-After above a minute.
    """

    status = 429
    code = "budget_exhausted"
    message = "A budget is used up. Wait until its next period, or ask for a larger one."

    def __init__(self, message: str | None = None, *, retry_after: int = 1) -> None:
        super().__init__(message, headers={"x-should-retry": "false"}, retry_after=retry_after)


class NotFound(GatewayError):
    status = 404
    code = "not_found"
    type = _INVALID_REQUEST
    message = "There is nothing at this address. Check the path against the API reference."


class ModelNotFound(NotFound):
    code = "model_not_found"
    message = "This model does not exist here. Use one of the models that GET /v1/models lists."
    param = "model"


class RateLimited(GatewayError):
    status = 429
    code = "rate_limit_exceeded"
    type = "rate_limit_error"
    message = "Too many requests. Wait as long as the header Retry-After says, then try again."

    def __init__(self, message: str | None = None, *, retry_after: int = 1, code: str | None = None, param: str | None = None) -> None:
        super().__init__(message, code=code, param=param, retry_after=retry_after)


class NotImplementedByUs(GatewayError):
    status = 501
    code = "api_not_implemented"
    message = "This gateway does not offer this API. Use another endpoint."


class NoChannel(GatewayError):
    status = 503
    code = "no_available_channel"
    message = "No channel can serve this model now. Try again later, or use another model."


class Unavailable(GatewayError):
    status = 503
    code = "service_unavailable"
    message = "The gateway takes no new requests at the moment. Try again in a few seconds."

    def __init__(self, message: str | None = None, *, retry_after: int = 2, code: str | None = None, param: str | None = None) -> None:
        super().__init__(message, code=code, param=param, retry_after=retry_after)


class LoopDetected(GatewayError):
    status = 508
    code = "hop_limit"
    message = "This request has passed through too many gateways. Check that no channel leads back to this gateway."


class UpstreamFailed(GatewayError):
    """The upstream answered with an error: `status` is its own, and message, code and type where it gave any (scrubbed by the caller)."""

    status = 502
    code = "bad_response_status_code"
    type = _UPSTREAM
    message = "The upstream answered with an error. Try again, or use another model."


class UpstreamUnreachable(GatewayError):
    status = 502
    code = "upstream_unreachable"
    type = _UPSTREAM
    message = "The upstream could not be reached, or broke off. Try again, or use another model."


class UpstreamTimeout(GatewayError):
    status = 504
    code = "upstream_timeout"
    type = _UPSTREAM
    message = "The upstream did not answer in time. Try again, or use another model."


def render_openai(error: GatewayError, request_id: str) -> bytes:
    """The error as OpenAI's JSON body, the request id at the end of its message."""
    shape = {"message": f"{error.message} (request id: {request_id})", "type": error.type, "param": error.param, "code": error.code}
    return msgspec.json.encode({"error": shape})


def render_openai_event(error: GatewayError, request_id: str) -> bytes:
    """The error as an event of a stream that has begun. Nothing may follow it, above all no `[DONE]`."""
    return sse.encode(render_openai(error, request_id))


# Order matters: longer, more certain shapes first, so that no half of a secret is left beside a marker.
_PATTERNS: tuple[tuple[re.Pattern[str], str], ...] = (
    (re.compile(r"-----BEGIN [A-Z ]{0,40}-----.*?(?:-----END [A-Z ]{0,40}-----|\Z)", re.DOTALL), "[key]"),
    (re.compile(r"\b[a-z][a-z0-9+.-]{1,20}://[^\s\"'<>)\]}]+", re.IGNORECASE), "[url]"),
    (re.compile(r"\beyJ[\w-]{8,}(?:\.[\w-]*){0,4}"), "[key]"),  # JSON web tokens
    (re.compile(r"\b(bearer|basic)\s+[\w*.~+/=|-]{4,}", re.IGNORECASE), r"\1 [key]"),
    (re.compile(r"\b(?:sk|pk|rk|ak|fk|xai|gsk|nvapi|hf|r8|tgp|pplx|ghp|key)[-_][\w*.-]{4,}", re.IGNORECASE), "[key]"),
    (re.compile(r"\b(?:AKIA|ASIA|ABIA|ACCA|AROA|AIDA)[A-Z0-9*]{8,}"), "[key]"),
    (re.compile(r"\bAIza[\w*-]{8,}|\bya29\.[\w.*-]+"), "[key]"),
    (re.compile(r"(?<![\w*-])[\w-]*\*{3,}[\w*-]*"), "[key]"),  # keys shown with their middle starred out
    (re.compile(r"\barn:[\w-]+:[^\s\"',]+"), "[id]"),
    (re.compile(r"\b(?:org|proj|acct|user|wrkspc|ws|team|tenant)[-_][A-Za-z0-9]{6,}\b"), "[id]"),
    (re.compile(r"\b[0-9a-f]{8}-(?:[0-9a-f]{4}-){3}[0-9a-f]{12}\b", re.IGNORECASE), "[id]"),
    (re.compile(r"\b[0-9a-f]{32,}\b", re.IGNORECASE), "[id]"),
    (re.compile(r"\b\d{12}\b"), "[id]"),  # the account numbers of AWS
    (
        re.compile(
            r"\b(account|tenant|subscription|organi[sz]ation|project|workspace)"
            r"((?:[ _-]?(?:id|number|no\.?))?[\"']?\s{0,3}[:=#/]?\s{0,3}[\"'`]?)"
            r"(?=[\w-]{0,80}\d)[\w-]{4,}",
            re.IGNORECASE,
        ),
        r"\1\2[id]",
    ),
    (re.compile(r"[\w.+-]{1,64}@[\w-]{1,63}(?:\.[\w-]{1,63}){1,8}"), "[email]"),
    (re.compile(r"\blocalhost(?::\d+)?\b", re.IGNORECASE), "[host]"),
    (
        re.compile(
            r"\b(?:[a-z0-9_](?:[a-z0-9_-]{0,62})\.){1,8}"
            r"(?:com|net|org|io|ai|cn|dev|app|cloud|local|internal|lan|svc|cluster|host|xyz|co|me|tech|site|top|uk|de|eu|jp|kr|hk|sg|us|fr|in|ru|tw)\b(?::\d+)?",
            re.IGNORECASE,
        ),
        "[host]",
    ),
    (re.compile(r"\b\d{1,3}(?:\.\d{1,3}){3}(?::\d+)?\b"), "[host]"),
)
_MAYBE_IPV6 = re.compile(r"[0-9a-f]{0,4}(?::[0-9a-f]{0,4}){2,7}(?:%\w+)?", re.IGNORECASE)
_SPACES = re.compile(r"[\t\n\r\v\f\u2028\u2029]+")


def scrub(text: str, secrets: Iterable[str]) -> str:
    """An upstream's text without what its users must not see, in one line of at most 2,000 characters.

    Removed: the secrets given (also their parts around `|`, and as they look inside a URL), whatever looks like a key, URLs, hosts,
    addresses, e-mail addresses and account ids; control and invisible characters.
    """
    text = _visible(text)
    for secret in _shapes_of(secrets):
        text = text.replace(secret, "[key]")
    text = text[:_SCRUB_WINDOW]
    for pattern, marker in _PATTERNS:
        text = pattern.sub(marker, text)
    text = _MAYBE_IPV6.sub(_hide_address, text)
    return text[:MESSAGE_LIMIT]


def _visible(text: str) -> str:
    text = _SPACES.sub(" ", text)
    if text.isascii() and text.isprintable():
        return text
    return "".join(char for char in text if unicodedata.category(char) not in {"Cc", "Cf", "Cs", "Co", "Cn"})


def _shapes_of(secrets: Iterable[str]) -> list[str]:
    shapes: set[str] = set()
    for secret in secrets:
        shapes.update((secret, quote(secret, safe=""), _visible(secret)))
        shapes.update(part for part in secret.split("|") if len(part) >= 2 * _SHORTEST_SECRET)
    return sorted((shape for shape in shapes if len(shape) >= _SHORTEST_SECRET), key=len, reverse=True)


def _hide_address(match: re.Match[str]) -> str:
    try:
        ipaddress.ip_address(match.group())
    except ValueError:
        return match.group()
    return "[host]"
