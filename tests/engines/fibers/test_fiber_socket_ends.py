"""How a wait on a fiber's socket ends without data, and how the socket itself does."""

import errno
import gc
import os
import socket
from functools import partial
from types import SimpleNamespace
from typing import Any

import pytest

from manyhands.engines.fibers.foreign_threads import READ, WRITE
from manyhands.engines.fibers.sockets import FiberSocket, call_in_hub_thread
from tests.support.waiting import PATIENCE, wait_until

from .conftest import Fibers
from .kit import LARGE, Pair, is_waiting, turns_of_the_loop_in


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
def test_a_close_wakes_a_fiber_that_waits(pair: Pair, fibers: Fibers, event: int, by: str) -> None:
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
def test_a_close_wakes_all_fibers_that_wait_for_the_same(
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


def test_a_fiber_that_waits_beside_another_has_a_timeout_of_its_own(
    pair: Pair, fibers: Fibers
) -> None:
    own, far = pair
    first = fibers.spawn(own.channel.wait, READ)
    wait_until(lambda: is_waiting(own))
    with pytest.raises(TimeoutError, match="timed out"):
        fibers.do(own.channel.wait, READ, 0.01)
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


def test_a_descriptor_closed_under_it_harms_no_other_socket(fibers: Fibers) -> None:
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


def test_no_socket_is_made_of_one_that_is_closed(fibers: Fibers) -> None:
    near, far = socket.socketpair()
    near.close()
    with pytest.raises(OSError, match="Bad file descriptor"):
        fibers.adopt(near)
    far.close()


@pytest.mark.parametrize("has_plain_socket", [False, True])
def test_a_forgotten_socket_whose_copy_lives_on_costs_nothing(
    fibers: Fibers, has_plain_socket: bool
) -> None:
    near, far = socket.socketpair()
    copy = near.dup()
    own = fibers.adopt(near)
    reading = fibers.spawn(own.recv, 1)
    wait_until(partial(is_waiting, own))
    far.sendall(b"x")
    assert reading.result(PATIENCE) == b"x"
    if has_plain_socket:
        own.getsockname()
    del own, reading
    gc.collect()
    # Only now, so that epoll has not reported it while the socket was still known.
    far.sendall(b"y")
    assert fibers.do(turns_of_the_loop_in, fibers, 0.05) < 50
    copy.close()
    far.close()


class DestroyedLoop:
    """A loop of gevent's that has been destroyed."""

    def run_callback_threadsafe(self, *_: object) -> None:
        raise ValueError("operation on destroyed loop")


@pytest.mark.parametrize("loop", [None, DestroyedLoop()])
def test_what_is_closed_while_its_hub_thread_ends_is_closed_at_once(loop: object) -> None:
    """The poller still looks open to a thread that closes a socket just then."""
    closed: list[str] = []
    poller: Any = SimpleNamespace(is_open=True, thread=-1, hub=SimpleNamespace(loop=loop))
    call_in_hub_thread(poller, closed.append, "the socket")
    assert closed == ["the socket"]
