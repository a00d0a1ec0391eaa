"""What docs/drop-in.md says of locks in handlers on fibers."""

import threading

import pytest

import manyhands
from manyhands import BaseRequestHandler, FiberTCPServer, events
from tests.support import call, run_python, serving

HERE = ("127.0.0.1", 0)

HELD_ACROSS_A_WAIT = """
    {patch}
    import socket, threading
    import gevent.lock
    from manyhands import FiberTCPServer, events

    lock = {lock}()

    def serve(request, client_address, server):
        with lock:
            request.sendall(b"mine")
            request.recv(1)

    def tell(event):
        if isinstance(event, events.HubBlocked):
            print("blocked", "in serve" in event.stack, flush=True)
            import os; os._exit(0)

    events.hub.subscribe(tell)
    server = FiberTCPServer(("127.0.0.1", 0), serve)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    with socket.create_connection(server.server_address) as first:
        first.recv(4)
        with socket.create_connection(server.server_address) as second:
            first.sendall(b"!") if {patch!r} or "gevent" in {lock!r} else first.settimeout(20)
            print(second.recv(4).decode(), flush=True)
            second.sendall(b"!")
    server.shutdown()
"""


@pytest.mark.parametrize(
    ("patch", "lock", "outcome"),
    [
        ("", "threading.Lock", "blocked True\n"),
        ("", "gevent.lock.RLock", "mine\n"),
        ("from gevent import monkey; monkey.patch_all()", "threading.Lock", "mine\n"),
    ],
)
def test_a_lock_held_across_a_wait(patch: str, lock: str, outcome: str) -> None:
    assert run_python(HELD_ACROSS_A_WAIT.format(patch=patch, lock=lock)) == outcome


def test_a_lock_that_threads_want_too_is_taken_in_a_blocking_call(seen: list[events.Event]) -> None:
    lock = threading.Lock()

    def counted() -> int:
        with lock:
            return 1

    class Counting(BaseRequestHandler):
        def handle(self) -> None:
            while self.request.recv(1) == b"c":
                self.request.sendall(b"%d" % manyhands.blocking(counted))
            self.request.sendall(b"-")

    with serving(FiberTCPServer(HERE, Counting)) as server:
        first, second = (call(server.server_address) for _ in range(2))
        with first, second:
            with lock:
                first.sendall(b"c")
                second.sendall(b"x")
                assert second.recv(1) == b"-"
            assert first.recv(1) == b"1"
    assert not [event for event in seen if isinstance(event, events.HubBlocked)]
