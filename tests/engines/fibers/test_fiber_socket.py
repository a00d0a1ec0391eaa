"""A fiber's socket does what a plain blocking socket does, and lets others run meanwhile."""

import array
import errno
import gc
import os
import select
import socket
import sys
import threading
import weakref
from functools import partial
from pathlib import Path
from typing import Any

import gevent
import pytest
from greenlet import greenlet

from manyhands.engines.fibers.elsewhere import READ, WRITE
from manyhands.engines.fibers.fiber_socket import FiberSocket
from tests.support.waiting import PATIENCE, wait_until

from .conftest import Fibers

Pair = tuple[FiberSocket, socket.socket]

LARGE = bytes(range(256)) * 40_000
"""More than the kernel's buffers hold."""


def everything(sock: Any, size: int = 65_536) -> bytes:
    received = b""
    while data := sock.recv(size):
        received += data
    return received


def is_waiting(own: FiberSocket, event: int = READ) -> bool:
    return own._channel.is_waited_for(event)


def test_bytes_come_and_go(pair: Pair, fibers: Fibers) -> None:
    own, far = pair
    far.sendall(b"hello")
    assert fibers.do(own.recv, 100) == b"hello"
    fibers.do(own.sendall, b"and back")
    assert far.recv(100) == b"and back"
    far.close()
    assert fibers.do(own.recv, 100) == b""


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


def test_what_comes_while_nobody_reads_is_there_later_and_costs_nothing(
    pair: Pair, fibers: Fibers
) -> None:
    own, far = pair
    first = fibers.spawn(own.recv, 1)
    wait_until(lambda: is_waiting(own))
    far.sendall(b"12")
    assert first.result(PATIENCE) == b"1"
    turns = fibers.do(_turns_of_the_loop_in, fibers, 0.05)
    assert turns < 50, "the loop turned and turned for a descriptor that nobody reads"
    assert fibers.do(own.recv, 1) == b"2"


def test_a_hang_up_while_nobody_reads_costs_nothing(pair: Pair, fibers: Fibers) -> None:
    own, far = pair
    first = fibers.spawn(own.recv, 1)
    wait_until(lambda: is_waiting(own))
    far.sendall(b"1")
    assert first.result(PATIENCE) == b"1"
    far.close()
    assert fibers.do(_turns_of_the_loop_in, fibers, 0.05) < 50
    assert fibers.do(own.recv, 1) == b""


def _turns_of_the_loop_in(fibers: Fibers, seconds: float) -> int:
    before = fibers.home.hub.loop.iteration
    gevent.sleep(seconds)
    turns: int = fibers.home.hub.loop.iteration - before
    return turns


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


def test_not_waiting_is_said_with_a_flag_or_a_timeout_of_zero(pair: Pair, fibers: Fibers) -> None:
    own, far = pair
    with pytest.raises(BlockingIOError):
        fibers.do(own.recv, 1, socket.MSG_DONTWAIT)
    own.setblocking(False)
    assert own.getblocking() is False
    assert own.gettimeout() == 0.0
    for attempt in (lambda: own.recv(1), lambda: own.recv_into(bytearray(1))):
        with pytest.raises(BlockingIOError):
            fibers.do(attempt)
    with pytest.raises(BlockingIOError):
        fibers.do(own.sendall, LARGE)
    own.setblocking(True)
    assert own.gettimeout() is None
    del far


@pytest.mark.parametrize("name", ["recv", "recv_into", "recvmsg", "recvfrom", "sendall", "send"])
def test_a_timeout_is_a_timeout_error(pair: Pair, fibers: Fibers, name: str) -> None:
    own, _ = pair
    own.settimeout(0.02)
    arguments = {"recv_into": bytearray(1), "sendall": LARGE, "send": LARGE}

    def for_ever() -> None:
        while True:
            getattr(own, name)(arguments.get(name, 1))

    with pytest.raises(TimeoutError, match=r"^timed out$") as caught:
        fibers.do(for_ever)
    assert caught.value.errno is None
    assert not is_waiting(own)
    assert not is_waiting(own, WRITE)


def test_after_a_timeout_the_connection_goes_on(pair: Pair, fibers: Fibers) -> None:
    own, far = pair
    own.settimeout(0.02)
    with pytest.raises(TimeoutError):
        fibers.do(own.recv, 1)
    own.settimeout(PATIENCE)
    receiving = fibers.spawn(own.recv, 10)
    wait_until(lambda: is_waiting(own))
    far.sendall(b"late")
    assert receiving.result(PATIENCE) == b"late"


@pytest.mark.parametrize("bad", [-1, "1", object()])
def test_a_timeout_that_is_none_is_refused(pair: Pair, bad: Any) -> None:
    own, far = pair
    with pytest.raises((TypeError, ValueError)) as plain:
        far.settimeout(bad)
    with pytest.raises(type(plain.value)):
        own.settimeout(bad)
    assert own.gettimeout() is None


@pytest.mark.parametrize("event", [READ, WRITE], ids=["reading", "writing"])
@pytest.mark.parametrize("by", ["a fiber", "a thread"])
def test_a_close_wakes_who_waits(pair: Pair, fibers: Fibers, event: int, by: str) -> None:
    own, _ = pair
    waiting = fibers.spawn(*((own.recv, 1) if event == READ else (own.sendall, LARGE)))
    wait_until(lambda: is_waiting(own, event))
    if by == "a fiber":
        fibers.do(own.close)
    else:
        own.close()
    assert own.fileno() == -1
    with pytest.raises(OSError, match="Bad file descriptor") as caught:
        waiting.result(PATIENCE)
    assert caught.value.errno == errno.EBADF


@pytest.mark.parametrize("event", [READ, WRITE], ids=["reading", "writing"])
@pytest.mark.parametrize("by", ["a fiber", "a thread"])
def test_a_close_wakes_all_who_wait_for_the_same(
    pair: Pair, fibers: Fibers, event: int, by: str
) -> None:
    own, _ = pair
    act = (own.recv, 1) if event == READ else (own.sendall, LARGE)
    waiting = [fibers.spawn(*act) for _ in range(3)]
    wait_until(lambda: is_waiting(own, event))
    fibers.do(lambda: None)  # by now the last of them has come to its wait
    if by == "a fiber":
        fibers.do(own.close)
    else:
        own.close()
    for outcome in waiting:
        with pytest.raises(OSError, match="Bad file descriptor") as caught:
            outcome.result(PATIENCE)
        assert caught.value.errno == errno.EBADF


def test_who_waits_beside_another_has_a_timeout_of_its_own(pair: Pair, fibers: Fibers) -> None:
    own, far = pair
    first = fibers.spawn(own._channel.wait, READ)
    wait_until(lambda: is_waiting(own))
    with pytest.raises(TimeoutError, match="timed out"):
        fibers.do(own._channel.wait, READ, 0.01)
    far.sendall(b"x")
    assert first.result(PATIENCE) is None


def test_what_was_closed_says_so(pair: Pair, fibers: Fibers) -> None:
    own, _ = pair
    fibers.do(own.close)
    fibers.do(own.close)
    for attempt in (
        lambda: own.recv(1),
        lambda: own.recv(1, socket.MSG_PEEK),
        lambda: own.recv_into(bytearray(1)),
        lambda: own.send(b"x"),
        lambda: own.sendall(b"x"),
        lambda: own.recvmsg(1),
        own.getpeername,
    ):
        with pytest.raises(OSError, match="Bad file descriptor") as caught:
            fibers.do(attempt)
        assert caught.value.errno == errno.EBADF


def test_a_shutdown_ends_a_wait_as_the_kernel_says(pair: Pair, fibers: Fibers) -> None:
    own, _ = pair
    waiting = fibers.spawn(own.recv, 1)
    wait_until(lambda: is_waiting(own))
    own.shutdown(socket.SHUT_RD)
    assert waiting.result(PATIENCE) == b""


def test_a_reset_is_an_error(fibers: Fibers) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        far = socket.create_connection(listener.getsockname())
        near, _ = listener.accept()
    own = fibers.adopt(near)
    waiting = fibers.spawn(own.recv, 1)
    wait_until(lambda: is_waiting(own))
    far.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
    far.close()
    with pytest.raises(ConnectionResetError):
        waiting.result(PATIENCE)
    with pytest.raises(BrokenPipeError):
        fibers.do(own.sendall, b"x")
    fibers.do(own.close)


def test_detaching_gives_up_the_descriptor(pair: Pair, fibers: Fibers) -> None:
    own, far = pair
    descriptor = own.detach()
    assert own.fileno() == -1
    with socket.socket(fileno=descriptor) as plain:
        plain.setblocking(True)
        plain.sendall(b"from the plain one")
        assert far.recv(100) == b"from the plain one"


def test_a_descriptor_that_is_used_again_is_a_new_connection(fibers: Fibers) -> None:
    for _ in range(3):
        near, far = socket.socketpair()
        own = fibers.adopt(near)
        receiving = fibers.spawn(own.recv, 1)
        wait_until(lambda own=own: is_waiting(own))  # type: ignore[misc]
        far.sendall(b"x")
        assert receiving.result(PATIENCE) == b"x"
        far.close()
        fibers.do(own.close)


def test_a_descriptor_closed_under_it_harms_nobody(fibers: Fibers) -> None:
    near, far = socket.socketpair()
    own = fibers.adopt(near)
    receiving = fibers.spawn(own.recv, 1)
    wait_until(lambda: is_waiting(own))
    far.sendall(b"x")
    receiving.result(PATIENCE)
    number = own.fileno()
    os.close(number)
    other, far_too = socket.socketpair()
    assert number in {other.fileno(), far_too.fileno()}
    successor = fibers.adopt(other if other.fileno() == number else far_too)
    peer = far_too if other.fileno() == -1 else other
    waiting = fibers.spawn(successor.recv, 1)
    wait_until(lambda: is_waiting(successor))
    own._sock.detach()
    fibers.do(own.close)
    peer.sendall(b"y")
    assert waiting.result(PATIENCE) == b"y"
    fibers.do(successor.close)
    peer.close()
    far.close()


def test_a_duplicate_lives_on(pair: Pair, fibers: Fibers) -> None:
    own, far = pair
    own.settimeout(PATIENCE)
    twin = fibers.do(own.dup)
    assert type(twin) is FiberSocket
    assert twin.gettimeout() == PATIENCE
    fibers.do(own.close)
    far.sendall(b"still there")
    assert fibers.do(twin.recv, 100) == b"still there"
    fibers.do(twin.close)


def test_one_may_select_on_it(pair: Pair, fibers: Fibers) -> None:
    own, far = pair
    assert select.select([own], [own], [], 0)[:2] == ([], [own])
    far.sendall(b"x")
    assert select.select([own], [], [], PATIENCE)[0] == [own]


@pytest.mark.parametrize("mode", ["rb", "rwb", "r", "rw"])
@pytest.mark.parametrize("buffering", [None, 0, 1, 100])
def test_files_of_every_mode_read(
    pair: Pair, fibers: Fibers, mode: str, buffering: int | None
) -> None:
    own, far = pair
    if buffering == 0 and "b" not in mode:
        with pytest.raises(ValueError, match="unbuffered"):
            own.makefile(mode, buffering)
        return

    def lines() -> list[Any]:
        with own.makefile(mode, buffering) as file:
            return list(file)

    reading = fibers.spawn(lines)
    far.sendall("first\nzweite mit ü\n".encode())
    far.sendall(b"without an end")
    far.shutdown(socket.SHUT_WR)
    expected = ["first\n", "zweite mit ü\n", "without an end"]
    assert reading.result(PATIENCE) == (
        [line.encode() for line in expected] if "b" in mode else expected
    )


@pytest.mark.parametrize("mode", ["wb", "w", "rwb"])
@pytest.mark.parametrize("buffering", [None, 0])
def test_files_of_every_mode_write(
    pair: Pair, fibers: Fibers, mode: str, buffering: int | None
) -> None:
    own, far = pair
    if buffering == 0 and "b" not in mode:
        return

    def write() -> None:
        with own.makefile(mode, buffering) as file:
            file.write(b"written" if "b" in mode else "written")

    fibers.do(write)
    assert far.recv(100) == b"written"


def test_a_file_keeps_the_connection_open(pair: Pair, fibers: Fibers) -> None:
    own, far = pair
    file = own.makefile("rb")
    fibers.do(own.close)
    assert own.fileno() >= 0
    far.sendall(b"line\n")
    assert fibers.do(file.readline) == b"line\n"
    fibers.do(file.close)
    assert own.fileno() == -1


def test_a_file_that_timed_out_reads_no_more_as_one_of_a_plain_socket(
    pair: Pair, fibers: Fibers
) -> None:
    own, _ = pair
    own.settimeout(0.02)
    file = own.makefile("rb")
    with pytest.raises(TimeoutError):
        fibers.do(file.read, 1)
    with pytest.raises(OSError, match="cannot read from timed out object"):
        fibers.do(file.read, 1)
    fibers.do(file.close)


def test_messages_with_descriptors_pass(fibers: Fibers) -> None:
    near, far = socket.socketpair()
    own = fibers.adopt(near)
    reader, writer = os.pipe()
    receiving = fibers.spawn(socket.recv_fds, own, 10, 1)
    wait_until(lambda: is_waiting(own))
    socket.send_fds(far, [b"x"], [writer])
    data, (received,), _, _ = receiving.result(PATIENCE)
    assert data == b"x"
    os.write(received, b"through")
    assert os.read(reader, 10) == b"through"
    fibers.do(socket.send_fds, own, [b"y"], [reader])
    assert socket.recv_fds(far, 10, 1)[0] == b"y"
    for descriptor in (reader, writer, received):
        os.close(descriptor)
    fibers.do(own.close)
    far.close()


@pytest.mark.parametrize("size", [10, len(LARGE)])
def test_a_file_is_sent(pair: Pair, fibers: Fibers, tmp_path: Path, size: int) -> None:
    own, far = pair
    (tmp_path / "file").write_bytes(LARGE[:size])
    with (tmp_path / "file").open("rb") as file:
        sending = fibers.spawn(own.sendfile, file)
        received = b""
        while len(received) < size:
            received += far.recv(65_536)
        assert sending.result(PATIENCE) == size
    assert received == LARGE[:size]


def test_an_exception_thrown_into_a_wait_comes_out_of_it(pair: Pair, fibers: Fibers) -> None:
    own, far = pair

    def impatient() -> bytes:
        with gevent.Timeout(0.02, False):
            return own.recv(1)
        assert not is_waiting(own)
        lost_patience.set()
        return own.recv(1)

    lost_patience = threading.Event()
    receiving = fibers.spawn(impatient)
    assert lost_patience.wait(PATIENCE)
    far.sendall(b"x")
    assert receiving.result(PATIENCE) == b"x"


def test_an_ordinary_thread_may_use_it(pair: Pair, fibers: Fibers) -> None:
    own, far = pair
    own.sendall(b"from a thread")
    assert far.recv(100) == b"from a thread"
    far.sendall(b"to a thread")
    assert own.recv(100) == b"to a thread"
    own.settimeout(0.02)
    with pytest.raises(TimeoutError, match=r"^timed out$"):
        own.recv(1)


def test_an_ordinary_thread_hands_data_over_while_the_fiber_reads(
    pair: Pair, fibers: Fibers
) -> None:
    own, far = pair
    reading = fibers.spawn(own.recv, 10)
    wait_until(lambda: is_waiting(own))
    sending = threading.Thread(target=own.sendall, args=(LARGE,))
    sending.start()
    received = b""
    while len(received) < len(LARGE):
        received += far.recv(65_536)
    assert received == LARGE
    sending.join()
    assert not reading.done()
    far.sendall(b"x")
    assert reading.result(PATIENCE) == b"x"


def test_a_fiber_of_another_home_may_use_it(pair: Pair, fibers: Fibers) -> None:
    own, far = pair
    others = Fibers()
    receiving = others.spawn(own.recv, 10)
    assert others.do(lambda: "the other home goes on") == "the other home goes on"
    far.sendall(b"x")
    assert receiving.result(PATIENCE) == b"x"
    others.end()


def test_a_crowd_of_fibers_is_each_answered(fibers: Fibers) -> None:
    ends = [socket.socketpair() for _ in range(300)]
    own = [fibers.adopt(near) for near, _ in ends]
    conversations = [fibers.spawn(lambda s=s: s.sendall(s.recv(1) + s.recv(1))) for s in own]
    for part in (b"a", b"b"):
        for _, far in ends:
            far.sendall(part)
        wait_until(lambda part=part: part == b"b" or all(is_waiting(s) for s in own))  # type: ignore[misc]
    for _, far in ends:
        assert far.recv(2, socket.MSG_WAITALL) == b"ab"
        far.close()
    for conversation in conversations:
        conversation.result(PATIENCE)
    for s in own:
        fibers.do(s.close)


def test_a_forked_copy_does_no_harm(fibers: Fibers) -> None:
    near, far = socket.socketpair()
    own = fibers.adopt(near)
    receiving = fibers.spawn(own.recv, 1)
    wait_until(lambda: is_waiting(own))
    pid = os.fork()
    if pid == 0:
        fibers.home.poller.forget()
        own.close()
        os._exit(0)
    assert os.waitpid(pid, 0)[1] == 0
    far.sendall(b"x")
    assert receiving.result(PATIENCE) == b"x"
    fibers.do(own.close)
    far.close()


def test_a_home_ends_when_nobody_lives_there() -> None:
    def of_fibers() -> list[threading.Thread]:
        return [t for t in threading.enumerate() if t.name.startswith("manyhands-fibers")]

    before = set(of_fibers())
    fibers = Fibers()
    (thread,) = set(of_fibers()) - before
    fibers.end()
    thread.join(PATIENCE)
    assert not thread.is_alive()
    assert not fibers.home.move_in()


def test_reading_a_line_is_one_wait(pair: Pair, fibers: Fibers) -> None:
    own, far = pair
    far.sendall(b"one\ntwo\n")

    def two_lines() -> tuple[bytes, bytes]:
        with own.makefile("rb") as file:
            return file.readline(), file.readline()

    assert fibers.do(two_lines) == (b"one\n", b"two\n")


def test_no_socket_is_made_of_one_that_is_closed(fibers: Fibers) -> None:
    near, far = socket.socketpair()
    near.close()
    with pytest.raises(OSError, match="Bad file descriptor"):
        fibers.adopt(near)
    far.close()


def test_a_thread_and_a_fiber_that_need_the_inner_socket_at_once_get_the_same(
    fibers: Fibers,
) -> None:
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        for _ in range(300):
            near, far = socket.socketpair()
            own = fibers.adopt(near)
            threads = [threading.Thread(target=own.getsockname) for _ in range(3)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
            os.fstat(own.fileno())
            fibers.do(own.close)
            far.close()
    finally:
        sys.setswitchinterval(interval)


def test_a_fiber_of_another_making_that_fails_ends_nobody_else(
    pair: Pair, fibers: Fibers, capsys: pytest.CaptureFixture[str]
) -> None:
    own, far = pair

    def fail() -> None:
        own.recv(1)
        raise ZeroDivisionError

    fibers.home.call(lambda: greenlet(fail, fibers.home.hub).switch())
    wait_until(lambda: is_waiting(own))
    far.sendall(b"x")
    wait_until(lambda: "ZeroDivisionError" in capsys.readouterr().err)
    assert fibers.do(lambda: "goes on") == "goes on"


def test_a_forgotten_socket_whose_copy_lives_on_costs_nothing(fibers: Fibers) -> None:
    near, far = socket.socketpair()
    copy = near.dup()
    own = fibers.adopt(near)
    reading = fibers.spawn(own.recv, 1)
    wait_until(partial(is_waiting, own))
    far.sendall(b"x")
    assert reading.result(PATIENCE) == b"x"
    del own, reading
    gc.collect()
    # Only now, so that epoll has not told of it while somebody still knew the socket.
    far.sendall(b"y")
    assert fibers.do(_turns_of_the_loop_in, fibers, 0.05) < 50
    copy.close()
    far.close()


def test_what_another_thread_has_closed_sends_nothing_any_more(pair: Pair, fibers: Fibers) -> None:
    own, _ = pair
    is_held = threading.Event()
    release = threading.Event()
    fibers.home.call(lambda: (is_held.set(), release.wait(PATIENCE)))
    assert is_held.wait(PATIENCE)
    own.close()
    with pytest.raises(OSError, match="Bad file descriptor"):
        own.sendall(b"x")
    release.set()


def test_receiving_into_nothing_is_no_wait(pair: Pair, fibers: Fibers) -> None:
    own, _ = pair
    assert fibers.do(own.recv_into, bytearray()) == 0


def test_who_waits_keeps_nobody_else_alive(fibers: Fibers) -> None:
    ends = [socket.socketpair() for _ in range(20)]
    own = [fibers.adopt(near) for near, _ in ends]

    def converse(sock: FiberSocket) -> None:
        while sock.recv(1):
            pass

    conversations = [fibers.spawn(converse, sock) for sock in own]
    wait_until(lambda: all(is_waiting(sock) for sock in own))
    # All are ready at the same time, so that each gives way to the next one.
    release = threading.Event()
    fibers.home.call(release.wait, PATIENCE)
    for _, far in ends:
        far.sendall(b"x")
    release.set()
    fibers.do(gevent.sleep, 0.01)
    wait_until(lambda: all(is_waiting(sock) for sock in own))
    for _, far in ends[1:]:
        far.close()
    for conversation in conversations[1:]:
        conversation.result(PATIENCE)
    watched = [weakref.ref(sock) for sock in own[1:]]
    del own[1:], conversations[1:]
    gc.collect()
    assert [ref for ref in watched if ref() is not None] == []
    ends[0][1].close()
    conversations[0].result(PATIENCE)
    fibers.do(own[0].close)
