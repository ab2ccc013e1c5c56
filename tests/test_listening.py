"""Addresses that our own servers listen at, as a user types them."""

import pytest

from dials_async.errors import UsageError
from dials_async.listening import Address, parse_address


@pytest.mark.parametrize(
    ("text", "host", "port", "loopback"),
    [
        ("127.0.0.1:8265", "127.0.0.1", 8265, True),
        (":0", "127.0.0.1", 0, True),
        ("localhost:80", "localhost", 80, True),
        ("[::1]:8265", "::1", 8265, True),
        ("0.0.0.0:8265", "0.0.0.0", 8265, False),
        ("[::]:8265", "::", 8265, False),
        ("trainer.example:1", "trainer.example", 1, False),
    ],
)
def test_addresses_are_understood(text: str, host: str, port: int, loopback: bool) -> None:
    address = parse_address(text, "--address")
    assert (address.host, address.port, address.is_loopback) == (host, port, loopback)


@pytest.mark.parametrize(
    "text", ["", "8265", "127.0.0.1", "127.0.0.1:", "host:http", "host:70000", "::1:80", "h:²"]
)
def test_what_is_no_address_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="--address"):
        parse_address(text, "--address")


def test_what_clients_connect_to_is_a_name_that_leads_here() -> None:
    assert Address("127.0.0.1", 0).reached_at(80) == "127.0.0.1:80"
    assert Address("::1", 0).reached_at(80) == "[::1]:80"
    assert not Address("0.0.0.0", 0).reached_at(80).startswith("0.0.0.0")
