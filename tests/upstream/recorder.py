"""A listener that serves nothing and remembers who connected: the place where no request and no key may ever arrive."""

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager


class Recorder:
    """`connections` has the first bytes of each connection made to it."""

    def __init__(self, listener: socket.socket) -> None:
        self._listener = listener
        self.port = int(listener.getsockname()[1])
        self.host = f"127.0.0.1:{self.port}"
        self.url = f"http://{self.host}"
        self.connections: list[bytes] = []

    def run(self) -> None:
        """Accepts until the listener is shut down."""
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            with connection:
                connection.settimeout(1)
                try:
                    self.connections.append(connection.recv(65536))
                    connection.sendall(b"HTTP/1.1 418 recorded\r\ncontent-length: 0\r\nconnection: close\r\n\r\n")
                except OSError:
                    self.connections.append(b"")


@contextmanager
def record() -> Iterator[Recorder]:
    """A recorder on a free port."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        recorder = Recorder(listener)
        thread = threading.Thread(target=recorder.run, daemon=True)
        thread.start()
        try:
            yield recorder
        finally:
            listener.shutdown(socket.SHUT_RDWR)
            thread.join(5)
