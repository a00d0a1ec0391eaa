"""The way back of connections that are handed over: one that cannot go holds up no other."""

import os
import socket
from ipaddress import IPv4Address
from typing import Any, NamedTuple

import pytest

from manyhands.connections.hand_over import Kept
from manyhands.model.connection_states import Reason
from manyhands.runtime.sockets import unix_pair
from manyhands.runtime.wakeup import PollableLatch
from manyhands.workers.hand_over import WorkerHandOver
from manyhands.workers.records import MOST_HANDED, read_handed


class Going(NamedTuple):
    number: int
    client_address: Any
    server: Any = None


def test_one_whose_address_no_message_holds_is_cut_off_and_those_behind_it_go_on(
    capfd: pytest.CaptureFixture[str],
) -> None:
    here, there = unix_pair(socket.SOCK_SEQPACKET)
    ended: list[tuple[int, Reason]] = []
    with here:
        back = WorkerHandOver(there.detach(), lambda *end: ended.append(end), PollableLatch())
        for number, host in enumerate((IPv4Address("192.0.2.1"), "192.0.2.2", "192.0.2.3")):
            going = Going(number, (host, 4711))
            back.send(going, os.open(os.devnull, os.O_RDONLY), Kept(b"", b"", b"", {}, {}, 0.0))
        back.wait_until_sent()
        came = []
        for _ in range(2):
            message, descriptors, _, _ = socket.recv_fds(here, MOST_HANDED, 2)
            came.append(read_handed(message, 1).place)
            for each in descriptors:
                os.close(each)
    assert came == [1, 2]
    assert ended == [(0, Reason.CUT_OFF)]
    assert "TypeError" in capfd.readouterr().err
