"""What OpenAI says with an error status. https://platform.openai.com/docs/guides/error-codes/api-errors"""

from typing import Any

ORGANISATION = "org-AbCd1234EfGh5678IjKl"
# status: (message, type, code)
KNOWN: dict[int, tuple[str, str, str | None]] = {
    400: ("We could not process this request.", "invalid_request_error", None),
    401: ("Incorrect API key provided.", "invalid_request_error", "invalid_api_key"),
    402: ("Insufficient Balance", "insufficient_quota", "insufficient_balance"),
    403: ("Country, region, or territory not supported", "request_forbidden", "unsupported_country_region_territory"),
    404: ("The model does not exist or you do not have access to it.", "invalid_request_error", "model_not_found"),
    429: ("Rate limit reached for requests. Please try again later.", "requests", "rate_limit_exceeded"),
    500: ("The server had an error while processing your request. Sorry about that!", "server_error", None),
    503: ("The engine is currently overloaded, please try again later.", "server_error", "overloaded"),
}


class ApiError(Exception):
    """A request that the real API refuses."""

    def __init__(self, status: int, message: str, *, param: str | None = None, code: str | None = None, type: str = "invalid_request_error") -> None:
        super().__init__(message)
        self.status = status
        self.body = {"error": {"message": message, "type": type, "param": param, "code": code}}


def usual_error(status: int) -> dict[str, Any]:
    """The real API's error for a status."""
    message, kind, code = KNOWN.get(status, (f"Something went wrong ({status}).", "server_error", None))
    return {"message": message, "type": kind, "param": None, "code": code}
