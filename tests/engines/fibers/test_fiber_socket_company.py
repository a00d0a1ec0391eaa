"""A fiber's socket among other fibers, threads, hub threads and copies of the process."""

import gc
import os
import socket
import sys
import threading
import weakref

import gevent
import pytest
from greenlet import greenlet

from manyhands.engines.fibers.sockets import FiberSocket
from tests.support.waiting import PATIENCE, wait_until

from .conftest import Fibers
from .kit import LARGE, Pair, is_waiting


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


def test_a_fiber_of_another_hub_thread_may_use_it(pair: Pair, fibers: Fibers) -> None:
    own, far = pair
    others = Fibers()
    receiving = others.spawn(own.recv, 10)
    assert others.do(lambda: "the other goes on") == "the other goes on"
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
        fibers.hub_thread.poller.forget()
        own.close()
        os._exit(0)
    assert os.waitpid(pid, 0)[1] == 0
    far.sendall(b"x")
    assert receiving.result(PATIENCE) == b"x"
    fibers.do(own.close)
    far.close()


def test_a_hub_thread_ends_when_nothing_needs_it() -> None:
    def of_fibers() -> list[threading.Thread]:
        return [t for t in threading.enumerate() if t.name.startswith("manyhands-fibers")]

    before = set(of_fibers())
    fibers = Fibers()
    (thread,) = set(of_fibers()) - before
    fibers.end()
    thread.join(PATIENCE)
    assert not thread.is_alive()
    assert not fibers.hub_thread.hold()


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


def test_a_foreign_fiber_that_fails_ends_no_other(
    pair: Pair, fibers: Fibers, capsys: pytest.CaptureFixture[str]
) -> None:
    own, far = pair

    def fail() -> None:
        own.recv(1)
        raise ZeroDivisionError

    fibers.hub_thread.call(lambda: greenlet(fail, fibers.hub_thread.hub).switch())
    wait_until(lambda: is_waiting(own))
    far.sendall(b"x")
    wait_until(lambda: "ZeroDivisionError" in capsys.readouterr().err)
    assert fibers.do(lambda: "goes on") == "goes on"


def test_what_another_thread_has_closed_sends_nothing_any_more(pair: Pair, fibers: Fibers) -> None:
    own, _ = pair
    is_held = threading.Event()
    release = threading.Event()
    fibers.hub_thread.call(lambda: (is_held.set(), release.wait(PATIENCE)))
    assert is_held.wait(PATIENCE)
    own.close()
    with pytest.raises(OSError, match="Bad file descriptor"):
        own.sendall(b"x")
    release.set()


def test_a_fiber_that_waits_keeps_no_other_alive(fibers: Fibers) -> None:
    ends = [socket.socketpair() for _ in range(20)]
    own = [fibers.adopt(near) for near, _ in ends]

    def converse(sock: FiberSocket) -> None:
        while sock.recv(1):
            pass

    conversations = [fibers.spawn(converse, sock) for sock in own]
    wait_until(lambda: all(is_waiting(sock) for sock in own))
    # All are ready at the same time, so that each gives way to the next one.
    release = threading.Event()
    fibers.hub_thread.call(release.wait, PATIENCE)
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
