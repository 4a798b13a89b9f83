"""TLS: an upstream proves who it is, by its name, before it gets a byte of a request."""

import asyncio
import datetime
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from outbound.guard import Guard
from outbound.http1 import Http1Transport
from outbound.transport import ConnectFailed
from tests.outbound.upstream import PATIENCE, post

LARGE = b"x" * 3_000_000


class Served:
    """What the server has seen, and where it is."""

    def __init__(self) -> None:
        self.port = 0
        self.names: list[str | None] = []
        self.received = 0


def certificate(folder: Path, name: str) -> Path:
    """A certificate that vouches for itself, with its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    now = datetime.datetime.now(tz=datetime.UTC)
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    made = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(name)]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    path = folder / f"{name}.pem"
    secret = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    path.write_bytes(made.public_bytes(serialization.Encoding.PEM) + secret)
    return path


@asynccontextmanager
async def serving_tls(path: Path) -> AsyncIterator[Served]:
    served = Served()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(path)
    context.sni_callback = lambda _socket, name, _context: served.names.append(name)

    async def accepted(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                length = int(head.lower().split(b"content-length: ")[1].split(b"\r\n")[0])
                served.received += len(await reader.readexactly(length))
                writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(LARGE), LARGE))
                await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError, ssl.SSLError):
            pass
        finally:
            writer.close()

    server = await asyncio.start_server(accepted, "127.0.0.1", 0, ssl=context)
    served.port = server.sockets[0].getsockname()[1]
    try:
        yield served
    finally:
        server.close()


@pytest.fixture
async def client() -> AsyncIterator[Http1Transport]:
    made = Http1Transport(Guard("channel"))
    yield made
    await made.close()


async def test_a_known_upstream_is_asked_by_its_name_and_kept(client: Http1Transport, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = certificate(tmp_path, "localhost")
    monkeypatch.setenv("SSL_CERT_FILE", str(path))
    async with serving_tls(path) as served, asyncio.timeout(PATIENCE):
        for _ in range(3):
            answer = await client.open(post(f"https://localhost:{served.port}/v1", LARGE))
            assert await answer.read_all(len(LARGE)) == LARGE
            await answer.close()
    assert served.names == ["localhost"]  # one handshake
    assert served.received == 3 * len(LARGE)


async def test_an_unknown_upstream_gets_nothing(client: Http1Transport, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate(tmp_path, "elsewhere")))
    async with serving_tls(certificate(tmp_path, "localhost")) as served, asyncio.timeout(PATIENCE):
        with pytest.raises(ConnectFailed, match="CERTIFICATE_VERIFY_FAILED"):
            await client.open(post(f"https://localhost:{served.port}/v1"))
    assert served.received == 0


async def test_an_upstream_of_another_name_gets_nothing(client: Http1Transport, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = certificate(tmp_path, "models.example")
    monkeypatch.setenv("SSL_CERT_FILE", str(path))
    async with serving_tls(path) as served, asyncio.timeout(PATIENCE):
        for host in ("localhost", "127.0.0.1"):
            with pytest.raises(ConnectFailed, match="CERTIFICATE_VERIFY_FAILED"):
                await client.open(post(f"https://{host}:{served.port}/v1"))
    assert served.received == 0
