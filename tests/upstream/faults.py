"""What can go wrong at an upstream, on demand: each field of a Fault is one way to misbehave, and they can be combined."""

import threading
from dataclasses import dataclass, field
from typing import Any

DEFAULT: Any = object()


@dataclass
class Fault:
    """How the requests that it matches are answered. Times are in seconds.

    `…_after=n` counts chunks with content: a stream's role chunk has none and is sent before them. In a plain answer `…_after` happens when half
    of its body is sent.
    """

    # Which requests: all fields given must match; `times` is how many of them, None all.
    model: str | None = None
    key: str | None = None
    path: str | None = None  # such as "chat/completions"
    times: int | None = None

    # An error instead of an answer.
    status: int | None = None
    error: Any = None  # the value of "error" in its body; the real API's for that status where it is None
    retry_after: float | str | None = None

    # Another head.
    headers: dict[str, str] = field(default_factory=dict)
    garbage_headers: bool = False  # long, odd and repeated ones
    content_type: str | None = None  # "" leaves it out
    body: bytes | None = None  # these bytes instead of the answer's

    # Another answer.
    content: str | None = None
    usage: Any = DEFAULT  # any JSON value in its place
    no_usage: bool = False
    usage_with_finish: bool = False  # in the chunk of the finish reason, as several vendors send it
    usage_everywhere: bool = False  # in every chunk so far, as several vendors send it
    usage_early: bool = False  # in a chunk of its own before the content, and not at the end
    usage_twice: bool = False  # two chunks of it at the end
    empty: bool = False  # status 200 without text, tool call or usage
    ignores_stream: bool = False  # a plain answer to a request for a stream
    filter_chunks: bool = False  # Azure's, with empty `choices`, before the content and after it
    comments: bool = False  # keep-alive comments between events
    crlf: bool = False  # lines end with CR LF
    split_every_byte: bool = False  # each byte is written alone
    one_write: bool = False  # the whole stream is written at once
    no_done: bool = False  # the stream ends without [DONE]
    no_finish: bool = False  # and without a finish reason

    # Slow, silent, broken.
    slow_head: float = 0  # before status and headers
    slow_first: float = 0  # between the headers and the first byte of the body
    slow_content: float = 0  # between the role chunk and the first content
    chunk_delay: float = 0
    silent_head: bool = False  # no head until `release` or the client leaves
    stall_after: int | None = None  # then nothing until `release` or the client leaves
    cut_after: int | None = None  # then the connection ends without the end of the body
    malformed_chunk: int | None = None  # so many chunks, then one that is no JSON
    error_in_stream: int | None = None  # so many chunks, then an error event and the end
    role_only_forever: bool = False  # role chunks and comments, never content

    def __post_init__(self) -> None:
        self._released = threading.Event()
        self.hits = 0  # requests it has answered

    def release(self) -> None:
        """Ends the stalls of this fault: the answers go on."""
        self._released.set()

    @property
    def is_released(self) -> bool:
        return self._released.is_set()

    def takes(self, path: str, model: str | None, key: str) -> bool:
        """Whether this request is one of its own; if so it is counted."""
        wanted = ((self.path, path), (self.model, model), (self.key, key))
        if any(mine is not None and mine != theirs for mine, theirs in wanted) or self.times == self.hits:
            return False
        self.hits += 1
        return True

    @property
    def answers_error(self) -> bool:
        return self.status is not None and not 200 <= self.status < 300


NONE = Fault()
