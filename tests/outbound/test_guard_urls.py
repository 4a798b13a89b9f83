"""Names and URLs: metadata services by name, schemes, user names, and hosts written in numbers."""

import pytest

from outbound.guard import Guard
from outbound.transport import AddressRefused, ConnectFailed

channel = Guard("channel")
public = Guard("public")


@pytest.mark.parametrize(
    "url",
    [
        "http://metadata.google.internal/computeMetadata/v1/",
        "http://METADATA.Google.Internal./",
        "http://metadata/",
        "http://metadata.goog/",
        "http://metadata.azure.internal/",
        "http://instance-data.ec2.internal/latest/",
        "http://169.254.169.254/latest/meta-data/",
        "http://[fd00:ec2::254]/latest/",
        "http://[::ffff:169.254.169.254]/",
        "http://[fe80::1%25eth0]/",
        "file:///etc/passwd",
        "gopher://127.0.0.1:6379/_",
        "ftp://example.com/",
        "//example.com/",
        "example.com",
        "http://",
        "http:///path",
        "http://[::1",
        "",
        "http://user@example.com/",
        "http://user:password@example.com/",
        "http://:@example.com/",
    ],
)
@pytest.mark.parametrize("guard", [channel, public], ids=["channel", "public"])
def test_urls_that_nobody_may_use(guard: Guard, url: str) -> None:
    with pytest.raises(AddressRefused):
        guard.check_url(url)


@pytest.mark.parametrize(
    ("url", "host"),
    [
        ("https://api.openai.com/v1", "api.openai.com"),
        ("http://EXAMPLE.com:8080/", "example.com"),
        ("https://8.8.8.8/", "8.8.8.8"),
        ("https://example.com#@169.254.169.254/", "example.com"),
        ("https://example.com/?url=http://169.254.169.254/", "example.com"),
    ],
)
def test_ordinary_urls_pass(url: str, host: str) -> None:
    assert channel.check_url(url) == host
    assert public.check_url(url) == host


@pytest.mark.parametrize("url", ["http://127.0.0.1:11434/", "http://[::1]:11434/", "http://10.0.0.5/", "http://[fd12::1]/"])
def test_private_addresses_are_for_channels(url: str) -> None:
    channel.check_url(url)
    with pytest.raises(AddressRefused):
        public.check_url(url)


@pytest.mark.parametrize(
    "host", ["localhost", "LocalHost", "127.0.0.1", "2130706433", "0x7f000001", "0x7f.1", "0177.0.0.1", "017700000001", "127.1", "::1", "0"]
)
def test_every_spelling_of_loopback_is_refused_once_resolved(host: str) -> None:
    with pytest.raises(AddressRefused):
        public.resolve(host, 80)


@pytest.mark.parametrize("host", ["2852039166", "0xa9fea9fe", "0251.0376.0251.0376", "169.254.43518", "169.16689662"])
def test_every_spelling_of_the_metadata_address_is_refused_for_channels_too(host: str) -> None:
    with pytest.raises(AddressRefused):
        channel.resolve(host, 80)


def test_what_a_channel_resolves_to_is_what_it_dials() -> None:
    assert set(channel.resolve("localhost", 80)) <= {"127.0.0.1", "::1"}


@pytest.mark.parametrize("host", ["no-such-host.invalid", "a" * 300, "x..y"])
def test_a_host_without_an_address_cannot_be_reached(host: str) -> None:
    with pytest.raises(ConnectFailed):
        channel.resolve(host, 80)


def test_one_bad_address_refuses_the_host() -> None:
    with pytest.raises(AddressRefused):
        public.check_all("rebinding.example", ["93.184.215.14", "127.0.0.1"])
    public.check_all("good.example", ["93.184.215.14", "2606:4700::1"])
