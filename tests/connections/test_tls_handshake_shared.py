"""A connection whose handshake is due, used by two fibers, or by a fiber and a thread, at the same time."""

import contextlib
import signal
import threading
from collections.abc import Callable
from typing import Any

import gevent
import pytest

from manyhands import FiberTCPServer, ThreadingTCPServer, events
from manyhands.connections.tls_handshake import _Handshake, failed_connection
from tests.support import Authority, Echo, ask_secretly, call, secured, serving, wait_until
from tests.support.waiting import PATIENCE

HERE = ("127.0.0.1", 0)


def in_a_fiber(work: Callable[[], object]) -> None:
    gevent.spawn(work)


def in_a_thread(work: Callable[[], object]) -> None:
    threading.Thread(target=work).start()


class Shared(FiberTCPServer):
    """Has a second fiber look at the first connection, while its own fiber does so too."""

    def __init__(self, elsewhere: Callable[[Callable[[], object]], None]) -> None:
        super().__init__(HERE, self.serve)
        self.elsewhere = elsewhere
        self.versions: list[str] = []
        self.has_begun = threading.Event()

    def verify_request(self, request: Any, client_address: Any) -> bool:
        if not self.has_begun.is_set():
            self.elsewhere(lambda: self.look_at(request))
            self.has_begun.wait(0 if self.elsewhere is in_a_fiber else PATIENCE)
        return True

    def look_at(self, request: Any) -> None:
        self.has_begun.set()
        self.versions.append(request.version())

    def serve(self, request: Any, client_address: Any, server: Any) -> None:
        self.versions.append(request.version())
        request.sendall(request.recv(100))


@pytest.mark.parametrize("elsewhere", [in_a_fiber, in_a_thread])
def test_both_wait_for_the_one_handshake_and_hold_up_no_other(
    authority: Authority, elsewhere: Callable[[Callable[[], object]], None]
) -> None:
    server: Any = secured(Shared(elsewhere), authority)
    with serving(server), call(server.server_address) as slow:
        assert server.has_begun.wait(PATIENCE)
        assert ask_secretly(server.server_address, authority) == b"hello\n"
        assert server.versions == ["TLSv1.3"]  # of the other client
        context = authority.client_context()
        with context.wrap_socket(slow, server_hostname="localhost") as peer:
            peer.sendall(b"at last")
            assert peer.recv(100) == b"at last"
        wait_until(lambda: len(server.versions) == 3)
    assert server.versions == ["TLSv1.3"] * 3


@pytest.mark.parametrize("elsewhere", [in_a_fiber, in_a_thread])
def test_a_handshake_that_fails_fails_for_both(
    authority: Authority, elsewhere: Callable[[Callable[[], object]], None]
) -> None:
    failures: list[OSError] = []

    class Failing(Shared):
        def look_at(self, request: Any) -> None:
            try:
                super().look_at(request)
            except OSError as error:
                failures.append(error)

    server: Any = secured(Failing(elsewhere), authority)
    with serving(server):
        with call(server.server_address) as peer:
            assert server.has_begun.wait(PATIENCE)
            peer.sendall(b"this is no TLS\r\n\r\n")
            wait_until(lambda: failures)
        assert ask_secretly(server.server_address, authority) == b"hello\n"
    assert server.versions == ["TLSv1.3"]


def test_a_subscriber_to_the_failure_may_wait_for_a_thread_that_uses_the_connection(
    authority: Authority,
) -> None:
    requests: list[Any] = []
    is_through: list[bool] = []

    def look() -> None:
        with contextlib.suppress(OSError):
            requests[0].version()

    def tell(event: events.Event) -> None:
        if isinstance(event, events.HandshakeFailed):
            other = threading.Thread(target=look, daemon=True)
            other.start()
            other.join(PATIENCE)
            is_through.append(not other.is_alive())

    class Keeping(ThreadingTCPServer):
        def verify_request(self, request: Any, client_address: Any) -> bool:
            requests.append(request)
            return True

    unsubscribe = events.hub.subscribe(tell)
    with (
        serving(secured(Keeping(HERE, Echo), authority)) as server,
        call(server.server_address) as peer,
    ):
        peer.sendall(b"this is no TLS\r\n\r\n")
        wait_until(lambda: is_through)
    unsubscribe()
    assert is_through == [True]


def test_what_a_signal_raises_in_a_thread_that_waits_for_a_handshake_is_no_failed_handshake() -> (
    None
):
    handshake, is_held, is_over = _Handshake(HERE, None), threading.Event(), threading.Event()

    def hold() -> None:
        with handshake._lock:
            is_held.set()
            is_over.wait(PATIENCE)

    def interrupt(*_: object) -> None:
        raise TimeoutError("the program's own alarm")

    holder = threading.Thread(target=hold)
    holder.start()
    assert is_held.wait(PATIENCE)
    before = signal.signal(signal.SIGALRM, interrupt)
    signal.setitimer(signal.ITIMER_REAL, 0.05)
    connection: Any = object()
    try:
        with pytest.raises(TimeoutError, match="the program's own alarm") as raised:
            handshake.finish(connection)
    finally:
        signal.signal(signal.SIGALRM, before)
        is_over.set()
        holder.join()
    assert failed_connection(raised.value) is None
