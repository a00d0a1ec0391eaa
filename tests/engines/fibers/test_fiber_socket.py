"""A fiber's socket does what a plain blocking socket does, and lets others run meanwhile."""

import array
import contextlib
import os
import select
import socket
import threading
from typing import Any

import pytest

from manyhands.engines.fibers.foreign_threads import WRITE
from tests.support.waiting import PATIENCE, wait_until

from .conftest import Fibers
from .kit import LARGE, Pair, everything, is_waiting, turns_of_the_loop_in


def test_bytes_come_and_go(pair: Pair, fibers: Fibers) -> None:
    own, far = pair
    far.sendall(b"hello")
    assert fibers.do(own.recv, 100) == b"hello"
    fibers.do(own.sendall, b"and back")
    assert far.recv(100) == b"and back"
    far.close()
    assert fibers.do(own.recv, 100) == b""


def test_the_descriptor_blocks_as_the_program_expects(pair: Pair, fibers: Fibers) -> None:
    """The program may read from it, or give it to another program."""
    own, far = pair
    far.sendall(b"a line, and more")

    def use() -> bytes:
        own.getsockname()
        own.getpeername()
        own.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 100_000)
        own.send(b"x")
        own.sendall(bytearray(b"y"))
        return bytes(own.recv(2) + own.recv(2, socket.MSG_PEEK) + own.recv(20))

    assert fibers.do(use) == b"a liline, and more"
    assert os.get_blocking(own.fileno())
    descriptor = fibers.do(own.detach)
    assert os.get_blocking(descriptor)
    os.close(descriptor)


def test_a_fiber_that_waits_lets_others_run(pair: Pair, fibers: Fibers) -> None:
    own, far = pair
    waiting = fibers.spawn(own.recv, 100)
    wait_until(lambda: is_waiting(own))
    assert fibers.do(lambda: "another") == "another"
    assert not waiting.done()
    far.sendall(b"now")
    assert waiting.result(PATIENCE) == b"now"


def test_two_fibers_read_and_write_the_same_socket(pair: Pair, fibers: Fibers) -> None:
    own, far = pair
    reading = fibers.spawn(own.recv, 10)
    wait_until(lambda: is_waiting(own))
    writing = fibers.spawn(own.sendall, LARGE)
    wait_until(lambda: is_waiting(own, WRITE))
    far.sendall(b"in between")
    assert reading.result(PATIENCE) == b"in between"
    received = b""
    while len(received) < len(LARGE):
        received += far.recv(65_536)
    assert received == LARGE
    assert writing.result(PATIENCE) is None


def test_two_fibers_read_the_same_socket_and_each_byte_goes_to_one(
    pair: Pair, fibers: Fibers
) -> None:
    own, far = pair
    readers = [fibers.spawn(own.recv, 1) for _ in range(2)]
    wait_until(lambda: is_waiting(own))
    far.sendall(b"ab")
    assert sorted(reader.result(PATIENCE) for reader in readers) == [b"a", b"b"]


def test_data_that_comes_without_a_reader_is_there_later_and_costs_nothing(
    pair: Pair, fibers: Fibers
) -> None:
    own, far = pair
    first = fibers.spawn(own.recv, 1)
    wait_until(lambda: is_waiting(own))
    far.sendall(b"12")
    assert first.result(PATIENCE) == b"1"
    turns = fibers.do(turns_of_the_loop_in, fibers, 0.05)
    assert turns < 50, "the loop turned and turned for a descriptor without a reader"
    assert fibers.do(own.recv, 1) == b"2"


def test_a_hang_up_without_a_reader_costs_nothing(pair: Pair, fibers: Fibers) -> None:
    own, far = pair
    first = fibers.spawn(own.recv, 1)
    wait_until(lambda: is_waiting(own))
    far.sendall(b"1")
    assert first.result(PATIENCE) == b"1"
    far.close()
    assert fibers.do(turns_of_the_loop_in, fibers, 0.05) < 50
    assert fibers.do(own.recv, 1) == b""


@pytest.mark.parametrize("data", [b"bytes", bytearray(b"bytes"), memoryview(b"bytes")])
def test_every_kind_of_bytes_is_sent(pair: Pair, fibers: Fibers, data: Any) -> None:
    own, far = pair
    assert fibers.do(own.send, data) == 5
    fibers.do(own.sendall, data)
    assert far.recv(10, socket.MSG_WAITALL) == b"bytesbytes"


def test_an_array_is_sent_by_its_bytes(pair: Pair, fibers: Fibers) -> None:
    own, far = pair
    numbers = array.array("i", [1, 2, 3])
    fibers.do(own.sendall, numbers)
    assert far.recv(100) == numbers.tobytes()


def receive(far: socket.socket, count: int) -> bytes:
    received = b""
    while len(received) < count:
        received += far.recv(count - len(received))
    return received


@pytest.mark.parametrize("data", [LARGE, bytearray(LARGE), array.array("I", LARGE)])
def test_a_send_waits_until_all_is_sent_as_that_of_a_socket_that_blocks(
    pair: Pair, fibers: Fibers, data: Any
) -> None:
    own, far = pair
    # Else the buffers of the two grow to what holds nearly all of it.
    own.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1 << 16)
    sending = fibers.spawn(own.send, data)
    wait_until(lambda: is_waiting(own, WRITE))
    assert receive(far, len(LARGE)) == LARGE
    assert sending.result(PATIENCE) == len(LARGE)
    sending = fibers.spawn(own.sendmsg, iter([b"head", data]))
    wait_until(lambda: is_waiting(own, WRITE))
    assert receive(far, 4 + len(LARGE)) == b"head" + LARGE
    assert sending.result(PATIENCE) == 4 + len(LARGE)


def test_a_send_with_a_timeout_and_one_that_does_not_wait_take_what_there_is_room_for(
    pair: Pair, fibers: Fibers
) -> None:
    own, _ = pair
    assert 0 < fibers.do(own.send, LARGE, socket.MSG_DONTWAIT) < len(LARGE)
    own.settimeout(0.05)
    with contextlib.suppress(TimeoutError):
        for _ in range(1000):
            assert fibers.do(own.send, LARGE) < len(LARGE)
        pytest.fail("it never waited in vain")


def test_a_send_tells_what_was_sent_before_the_peer_hung_up(pair: Pair, fibers: Fibers) -> None:
    own, far = pair
    sending = fibers.spawn(own.send, LARGE)
    wait_until(lambda: is_waiting(own, WRITE))
    far.close()
    assert 0 < sending.result(PATIENCE) < len(LARGE)
    with pytest.raises(OSError, match=r"Broken pipe|reset"):
        fibers.do(own.send, LARGE)


def test_text_is_refused_as_a_plain_socket_refuses_it(pair: Pair, fibers: Fibers) -> None:
    own, far = pair
    with pytest.raises(TypeError):
        far.sendall("text")  # type: ignore[arg-type]
    for function in (own.send, own.sendall):
        with pytest.raises(TypeError):
            fibers.do(function, "text")


def test_nothing_to_receive_or_to_send_is_no_wait(pair: Pair, fibers: Fibers) -> None:
    own, far = pair
    assert fibers.do(own.sendall, b"") is None
    assert fibers.do(own.send, b"") == 0
    with pytest.raises(ValueError, match="negative"):
        far.recv(-1)
    with pytest.raises(ValueError, match="negative"):
        fibers.do(own.recv, -1)


def test_recv_into_fills_what_it_is_given(pair: Pair, fibers: Fibers) -> None:
    own, far = pair
    buffer = bytearray(b"......")
    far.sendall(b"abc")
    assert fibers.do(own.recv_into, buffer) == 3
    assert buffer == b"abc..."
    far.sendall(b"defg")
    assert fibers.do(own.recv_into, memoryview(buffer)[3:], 2) == 2
    assert buffer == b"abcde."
    with pytest.raises(ValueError, match="too small"):
        fibers.do(own.recv_into, buffer, 100)
    with pytest.raises(TypeError):
        fibers.do(own.recv_into, b"read-only")


def test_a_receive_larger_than_any_buffer_of_ours(pair: Pair, fibers: Fibers) -> None:
    own, far = pair
    sending = threading.Thread(target=lambda: (far.sendall(LARGE), far.shutdown(socket.SHUT_WR)))
    sending.start()
    assert fibers.do(everything, own, 1 << 20) == LARGE
    sending.join()


def test_peeking_leaves_what_it_saw(pair: Pair, fibers: Fibers) -> None:
    own, far = pair
    far.sendall(b"look")
    assert fibers.do(own.recv, 10, socket.MSG_PEEK) == b"look"
    assert fibers.do(own.recv, 10) == b"look"


def test_waiting_for_all_waits_for_all(pair: Pair, fibers: Fibers) -> None:
    own, far = pair
    receiving = fibers.spawn(own.recv, 6, socket.MSG_WAITALL)
    far.sendall(b"abc")
    wait_until(lambda: is_waiting(own))
    assert not receiving.done()
    far.sendall(b"defg")
    assert receiving.result(PATIENCE) == b"abcdef"
    buffer = bytearray(3)
    filling = fibers.spawn(own.recv_into, buffer, 3, socket.MSG_WAITALL)
    far.sendall(b"hi")
    assert filling.result(PATIENCE) == 3
    assert buffer == b"ghi"


def test_waiting_for_all_waits_for_all_whatever_else_is_told(pair: Pair, fibers: Fibers) -> None:
    own, far = pair
    buffer = bytearray(6)
    for receive in (
        lambda: own.recvfrom(6, socket.MSG_WAITALL),
        lambda: (own.recvfrom_into(buffer, 6, socket.MSG_WAITALL), bytes(buffer))[::-1],
        lambda: own.recvmsg(6, 0, socket.MSG_WAITALL),
    ):
        receiving = fibers.spawn(receive)
        far.sendall(b"abc")
        wait_until(lambda: is_waiting(own))
        far.sendall(b"def")
        assert receiving.result(PATIENCE)[0] == b"abcdef"


def test_waiting_for_all_ends_with_the_connection(pair: Pair, fibers: Fibers) -> None:
    own, far = pair
    receiving = fibers.spawn(own.recv, 100, socket.MSG_WAITALL)
    far.sendall(b"less")
    far.close()
    assert receiving.result(PATIENCE) == b"less"


# On a Unix socket poll takes no notice of SO_RCVLOWAT.
@pytest.mark.parametrize("pair", ["tcp"], indirect=True)
def test_peeking_at_all_waits_for_all(pair: Pair, fibers: Fibers) -> None:
    own, far = pair
    peeking = fibers.spawn(own.recv, 4, socket.MSG_PEEK | socket.MSG_WAITALL)
    far.sendall(b"ab")
    wait_until(lambda: is_waiting(own))
    far.sendall(b"cd")
    assert peeking.result(PATIENCE) == b"abcd"
    assert fibers.do(own.recv, 10) == b"abcd"


def test_one_may_select_on_it(pair: Pair, fibers: Fibers) -> None:
    own, far = pair
    assert select.select([own], [own], [], 0)[:2] == ([], [own])
    far.sendall(b"x")
    assert select.select([own], [], [], PATIENCE)[0] == [own]


def test_receiving_into_nothing_is_no_wait(pair: Pair, fibers: Fibers) -> None:
    own, _ = pair
    assert fibers.do(own.recv_into, bytearray()) == 0
