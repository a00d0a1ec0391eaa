"""From a host's name to what is listened on: those of its addresses that this machine has."""

import errno
import socket
from collections.abc import Callable
from typing import Any

import pytest

from manyhands import Server
from manyhands.listening.endpoints import Endpoint, endpoints, is_of_this_machine
from manyhands.model.addresses import parse
from tests.support import Echo, ask

FOREIGN = "203.0.113.1"  # of no machine: RFC 5737, section 3
FOREIGN_6 = "2001:db8::1"  # RFC 3849

HasAddresses = Callable[..., None]


@pytest.fixture
def host_has(monkeypatch: pytest.MonkeyPatch) -> HasAddresses:
    """Have the name ``host.test`` stand for addresses."""
    resolve = socket.getaddrinfo

    def have(*hosts: str) -> None:
        def resolved(host: Any, *arguments: Any, **options: Any) -> list[Any]:
            asked = hosts if host == "host.test" else (host,)
            return [found for each in asked for found in resolve(each, *arguments, **options)]

        monkeypatch.setattr(socket, "getaddrinfo", resolved)

    return have


def hosts(address: str) -> list[str]:
    return [endpoint.address[0] for endpoint in endpoints(parse(address))]


@pytest.mark.parametrize("scheme", ["tcp", "udp"])
@pytest.mark.parametrize("foreign", [FOREIGN, FOREIGN_6])
def test_addresses_that_this_machine_does_not_have_are_left_out(
    host_has: HasAddresses, foreign: str, scheme: str
) -> None:
    host_has(foreign, "127.0.0.1", foreign, "127.0.0.2")
    assert hosts(f"{scheme}://host.test:8008") == ["127.0.0.1", "127.0.0.2"]


@pytest.mark.parametrize("port", [0, 8008])
def test_with_port_0_the_first_address_that_is_here_counts(
    host_has: HasAddresses, port: int
) -> None:
    host_has(FOREIGN_6, FOREIGN, "127.0.0.1", "127.0.0.2")
    assert hosts(f"tcp://host.test:{port}") == ["127.0.0.1", "127.0.0.2"][: 2 if port else 1]


def test_a_name_with_one_foreign_address_is_served_on_the_other(host_has: HasAddresses) -> None:
    host_has(FOREIGN, "127.0.0.1")
    with Server(Echo, "tcp://host.test:0") as server:
        (address,) = server.addresses
        assert address.host == "127.0.0.1"
        assert ask((address.host, address.port)) == b"hello\n"


def test_a_name_with_no_address_of_this_machine_is_named(host_has: HasAddresses) -> None:
    host_has(FOREIGN_6, FOREIGN)
    with pytest.raises(
        OSError,
        match=r"cannot listen on tcp://host\.test:8008 \(no interface of this machine has an address "
        rf"of 'host\.test': {FOREIGN_6}, {FOREIGN}\)",
    ) as caught:
        Server(Echo, "tcp://host.test:8008").listen()
    assert caught.value.errno == errno.EADDRNOTAVAIL


def test_an_address_is_not_a_name_and_is_left_to_bind() -> None:
    assert hosts(f"tcp://{FOREIGN}:8008") == [FOREIGN]
    assert hosts(f"tcp://[{FOREIGN_6}]:8008") == [FOREIGN_6]


def test_an_address_that_is_held_is_here_all_the_same(host_has: HasAddresses) -> None:
    with socket.create_server(("127.0.0.1", 0)) as holder:
        port = holder.getsockname()[1]
        host_has("127.0.0.1", "127.0.0.2")
        with pytest.raises(OSError, match=f"cannot listen on 127.0.0.1:{port} .held by"):
            Server(Echo, f"tcp://host.test:{port}").listen()


UNKNOWN_FAMILY = 9999
"""As IPv6 is to a kernel without it: `socket` fails with EAFNOSUPPORT."""


@pytest.mark.parametrize(
    ("endpoint", "is_here"),
    [
        (Endpoint(socket.AF_INET, socket.SOCK_STREAM, ("127.0.0.1", 8008)), True),
        (Endpoint(socket.AF_INET, socket.SOCK_STREAM, ("127.0.0.1", 1)), True),
        (Endpoint(socket.AF_INET, socket.SOCK_DGRAM, (FOREIGN, 8008)), False),
        (Endpoint(socket.AF_INET6, socket.SOCK_STREAM, (FOREIGN_6, 8008, 0, 0)), False),
        (Endpoint(UNKNOWN_FAMILY, socket.SOCK_STREAM, ("::1", 8008)), False),
    ],
)
def test_this_machine_has_an_address_that_a_socket_can_be_bound_to(
    endpoint: Endpoint, is_here: bool
) -> None:
    assert is_of_this_machine(endpoint) is is_here
