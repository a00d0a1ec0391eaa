"""The socket of a lane: it receives what is there, and waits for nothing."""

import socket
from collections.abc import Iterator

import pytest

from manyhands.dropin.handlers import DatagramRequestHandler
from manyhands.dropin.tcp import UDPServer
from manyhands.workers.lane_socket import LaneSocket
from tests.support.workers import Worker


@pytest.fixture
def lane() -> Iterator[LaneSocket]:
    with LaneSocket(socket.AF_INET, socket.SOCK_DGRAM) as lane:
        lane.bind(("127.0.0.1", 0))
        yield lane


RECEIVES = {
    "recvfrom": lambda lane: lane.recvfrom(100)[0],
    "recvfrom_into": lambda lane: lane.recvfrom_into(bytearray(100))[0],
    "recvmsg": lambda lane: lane.recvmsg(100, 100)[0],
}


@pytest.mark.parametrize("how", RECEIVES)
def test_it_waits_for_no_datagram_that_another_process_has_taken(
    lane: LaneSocket, how: str, worker: Worker
) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
        client.sendto(b"hello", lane.getsockname())
        assert worker.spawn(RECEIVES[how], lane).result(20) in {b"hello", 5}
    with pytest.raises(BlockingIOError):
        worker.spawn(RECEIVES[how], lane).result(20)
    assert lane.gettimeout() is None


def test_a_server_on_it_goes_on_where_another_process_was_sooner(
    lane: LaneSocket, worker: Worker
) -> None:
    with UDPServer(("127.0.0.1", 0), DatagramRequestHandler) as server:
        server.socket.close()
        server.socket = lane
        worker.spawn(server._handle_request_noblock).result(20)
