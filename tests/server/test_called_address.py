"""Datagrams are answered from the address that was called, also by a listener for all of a host's."""

import socket
import struct
from collections.abc import Iterator
from typing import Any

import pytest

from manyhands import BaseRequestHandler, DatagramRequestHandler, Server, events
from manyhands.listening.called_address import control_of_answer
from tests.support import wait_until

LOOPBACK = socket.if_nametoindex("lo")

GROUP = "239.255.77.2"

PATIENCE = 20.0

pytestmark = pytest.mark.filterwarnings("ignore:.*fork")


class Shout(DatagramRequestHandler):
    """Answers in capitals."""

    def handle(self) -> None:
        self.wfile.write(self.packet.upper())


class Bare(BaseRequestHandler):
    """Answers on the socket of its request."""

    def handle(self) -> None:
        data, answering = self.request
        answering.sendto(data.upper(), self.client_address)


class Flagged(BaseRequestHandler):
    """Answers with flags."""

    def handle(self) -> None:
        data, answering = self.request
        answering.sendto(data.upper(), 0, self.client_address)


class Parted(BaseRequestHandler):
    """Answers by parts, and with an address of two parts alone."""

    def handle(self) -> None:
        data, answering = self.request
        answering.sendmsg((data[:2].upper(), data[2:].upper()), (), 0, self.client_address[:2])


class Short(BaseRequestHandler):
    """Answers to an address of two parts."""

    def handle(self) -> None:
        data, answering = self.request
        answering.sendto(data.upper(), self.client_address[:2])


def function(request: Any, client_address: Any, server: Any) -> None:
    data, answering = request
    answering.sendto(bytearray(data.upper()), client_address)


HANDLERS = pytest.mark.parametrize("handler", [Shout, Bare, Flagged, Parted, Short, function])

EVERYWHERE = pytest.mark.parametrize("address", ["udp://:0", "udp://0.0.0.0:0"])


def datagrams(family: int = socket.AF_INET) -> socket.socket:
    client = socket.socket(family, socket.SOCK_DGRAM)
    client.settimeout(PATIENCE)
    return client


@pytest.fixture
def client() -> Iterator[socket.socket]:
    with datagrams() as client:
        yield client


def port_of(server: Server) -> int:
    return server.addresses[0].port


@EVERYWHERE
@HANDLERS
def test_the_answer_comes_from_the_address_that_was_called(
    engine: str, address: str, handler: Any
) -> None:
    with Server(handler, address, engine=engine) as server:
        for number in range(1, 5):
            with datagrams() as client:
                # Connected, so that its kernel takes answers of this address alone.
                client.connect((f"127.0.0.{number}", port_of(server)))
                client.send(b"hello")
                assert client.recv(100) == b"HELLO"


@HANDLERS
def test_clients_of_ipv6_are_answered_too(engine: str, handler: Any) -> None:
    with Server(handler, "udp://:0", engine=engine) as server, datagrams(socket.AF_INET6) as client:
        client.connect(("::1", port_of(server)))
        client.send(b"hello")
        assert client.recv(100) == b"HELLO"


def test_what_was_sent_to_a_group_is_answered_from_an_address_of_this_host(
    engine: str, client: socket.socket
) -> None:
    client.bind(("127.0.0.1", 0))
    on_loopback = struct.pack("=4s4si", bytes(4), bytes(4), LOOPBACK)
    client.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_IF, on_loopback)
    with Server(Shout, "udp://0.0.0.0:0", engine=engine) as server, datagrams() as member:
        # What one socket joins, all sockets for all addresses receive (IP_MULTICAST_ALL, ip(7)).
        group = struct.pack("=4s4si", socket.inet_aton(GROUP), bytes(4), LOOPBACK)
        member.setsockopt(socket.IPPROTO_IP, socket.IP_ADD_MEMBERSHIP, group)
        client.sendto(b"hello", (GROUP, port_of(server)))
        assert client.recvfrom(100) == (b"HELLO", ("127.0.0.1", port_of(server)))


def test_a_group_of_ipv6_is_no_address_to_answer_from() -> None:
    told = socket.IPPROTO_IPV6, socket.IPV6_PKTINFO
    group = socket.inet_pton(socket.AF_INET6, "ff02::1")
    assert control_of_answer([(*told, group + b"\1\0\0\0")]) == ()
    of_link = socket.inet_pton(socket.AF_INET6, "fe80::1") + b"\1\0\0\0"
    assert control_of_answer([(*told, of_link)]) == ((*told, of_link),)
    elsewhere = socket.inet_pton(socket.AF_INET6, "2001:db8::1")
    assert control_of_answer([(*told, elsewhere + b"\1\0\0\0")]) == ((*told, elsewhere + bytes(4)),)


def test_other_peers_are_sent_to_from_the_address_that_the_kernel_prefers(
    engine: str, client: socket.socket
) -> None:
    with datagrams() as other:
        other.bind(("127.0.0.3", 0))
        elsewhere = other.getsockname()

        def relay(request: Any, client_address: Any, server: Any) -> None:
            data, answering = request
            answering.sendto(data, elsewhere)
            with pytest.raises(TypeError):
                answering.sendto(data)

        with Server(relay, "udp://0.0.0.0:0", engine=engine) as server:
            client.sendto(b"hello", ("127.0.0.2", port_of(server)))
            assert other.recvfrom(100) == (b"hello", ("127.0.0.1", port_of(server)))


def test_the_handler_s_socket_is_the_listening_one_in_all_else(
    engine: str, client: socket.socket
) -> None:
    def tell(request: Any, client_address: Any, server: Any) -> None:
        _, answering = request
        name = answering.getsockname()
        answering.sendto(repr((name, answering.fileno() >= 0)).encode(), client_address)

    with Server(tell, "udp://0.0.0.0:0", engine=engine) as server:
        client.sendto(b"hello", ("127.0.0.1", port_of(server)))
        assert client.recv(100).decode() == repr((("0.0.0.0", port_of(server)), True))


@EVERYWHERE
def test_a_datagram_that_is_too_long_is_cut_and_told_of(
    address: str, client: socket.socket, seen: list[events.Event]
) -> None:
    with Server(Shout, address, max_packet_size=3) as server:
        client.sendto(b"hello", ("127.0.0.1", port_of(server)))
        assert client.recv(100) == b"HEL"
    wait_until(lambda: any(isinstance(event, events.DatagramTruncated) for event in seen))


def test_the_kernel_is_asked_only_where_it_matters() -> None:
    def asks(listener: socket.socket) -> bool:
        return bool(listener.getsockopt(socket.IPPROTO_IP, 8))  # IP_PKTINFO

    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as given:
        given.bind(("0.0.0.0", 0))
        addresses = ("udp://127.0.0.1:0", f"fd://{given.fileno()}")
        with Server(Shout, *addresses):
            assert not asks(given)
