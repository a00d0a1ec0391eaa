"""Groups of multicast addresses: joined on the interface that the address names."""

import errno
import ipaddress
import os
import re
import socket
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from manyhands import DatagramRequestHandler, Mistake, Server, StreamRequestHandler
from manyhands.listening import multicast
from tests.support import bound

GROUP = "239.255.77.1"
GROUP_6 = str(ipaddress.IPv6Address(f"ff02::7701:{os.getpid() % 0xF000 + 0x1000:x}"))
"""This process's own: `members` tells of all that run on the machine."""

LOOPBACK = socket.if_nametoindex("lo")

PATIENCE = 20.0

pytestmark = pytest.mark.filterwarnings("ignore:.*fork")


class Shout(DatagramRequestHandler):
    """Answers in capitals."""

    def handle(self) -> None:
        self.wfile.write(self.packet.upper())


@pytest.fixture
def caller() -> Iterator[socket.socket]:
    """A client that sends to groups on the loopback interface."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
        client.settimeout(PATIENCE)
        client.bind(("127.0.0.1", 0))
        on_loopback = struct.pack("=4s4si", bytes(4), bytes(4), LOOPBACK)
        client.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_IF, on_loopback)
        yield client


def ask(client: socket.socket, address: Any) -> tuple[bytes, Any]:
    client.sendto(b"hello", address)
    answer, source = client.recvfrom(100)
    return answer, source[0]


def test_a_group_is_joined_and_answered_from_an_address_of_this_host(
    engine: str, caller: socket.socket
) -> None:
    with Server(Shout, f"udp://{GROUP}:0?interface=lo", engine=engine) as server:
        assert server.addresses[0].host == GROUP
        assert ask(caller, bound(server)) == (b"HELLO", "127.0.0.1")


def members(interface: str) -> set[str]:
    """Return the groups of IPv6 that are joined on an interface."""
    rows = Path("/proc/net/igmp6").read_text(encoding="ascii").splitlines()
    packed = [row.split()[2] for row in rows if row.split()[1] == interface]
    return {socket.inet_ntop(socket.AF_INET6, bytes.fromhex(each)) for each in packed}


@pytest.mark.parametrize("address", ["[{}]:0?interface=lo", "[{}%lo]:0"], ids=["query", "zone"])
def test_a_group_of_ipv6_is_joined_while_the_server_listens(engine: str, address: str) -> None:
    # The loopback interface has no route to groups of IPv6, so nothing can be sent to them there.
    with Server(Shout, f"udp://{address.format(GROUP_6)}", engine=engine):
        assert GROUP_6 in members("lo")
    assert GROUP_6 not in members("lo")


def test_several_servers_receive_one_group(caller: socket.socket) -> None:
    with Server(Shout, f"udp://{GROUP}:0?interface=lo") as first:
        port = first.addresses[0].port
        with Server(Shout, f"udp://{GROUP}:{port}?interface=lo"):
            caller.sendto(b"hello", (GROUP, port))
            assert [caller.recv(100) for _ in range(2)] == [b"HELLO", b"HELLO"]


def test_only_the_group_is_received(caller: socket.socket) -> None:
    with (
        Server(Shout, f"udp://{GROUP}:0?interface=lo") as server,
        Server(Shout, "udp://127.0.0.1:0") as beside,
    ):
        caller.sendto(b"not for it", ("127.0.0.1", server.addresses[0].port))
        assert ask(caller, bound(beside))[0] == b"HELLO"
        assert ask(caller, bound(server))[0] == b"HELLO"


def test_an_interface_that_is_not_there_is_a_sentence() -> None:
    address = f"udp://{GROUP}:5000?interface=no-such-one"
    with pytest.raises(
        Mistake,
        match=re.escape(
            f"cannot listen on {address}: there is no interface 'no-such-one'; there are "
        )
        + ".*lo",
    ):
        Server(Shout, address).listen()


def test_a_group_that_cannot_be_joined_is_a_sentence() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as listener:
        listener.bind((GROUP, 0))
        with pytest.raises(OSError, match=f"cannot join the group {GROUP}:5000") as caught:
            multicast.join(listener, (GROUP, 5000), 2**31 - 1)
        assert caught.value.args == (errno.ENODEV, os.strerror(errno.ENODEV))
        # The same group twice.
        multicast.join(listener, (GROUP, 5000), LOOPBACK)
        with pytest.raises(OSError, match=f"cannot join the group {GROUP}:5000"):
            multicast.join(listener, (GROUP, 5000), LOOPBACK)


@pytest.mark.parametrize("address", [f"tcp://{GROUP}:0", f"tcp://[{GROUP_6}]:0"])
def test_a_group_takes_no_connections_and_the_server_says_so(address: str) -> None:
    with pytest.raises(Mistake, match="is a group of multicast addresses, which has datagrams"):
        Server(StreamRequestHandler, address).listen()
