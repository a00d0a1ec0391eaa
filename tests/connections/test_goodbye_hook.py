"""A goodbye for which no thread can be had is not said; the connection goes on, and comes to its end."""

import threading
from typing import Any

import pytest

from manyhands import Server, StreamRequestHandler
from manyhands.model.connection_states import Reason
from tests.support import bound, call, everything, read_line

pytestmark = pytest.mark.filterwarnings("ignore:.*fork")


class Polite(StreamRequestHandler):
    """An echo that says goodbye."""

    def handle(self) -> None:
        for line in self.rfile:
            self.wfile.write(line)

    def goodbye(self) -> None:
        self.wfile.write(b"goodbye\n")


def refuse(thread: Any) -> None:
    raise RuntimeError("can't start new thread")


class Poor(Polite):
    """Has no further thread, in a process of its own."""

    def setup(self) -> None:
        super().setup()
        threading.Thread.start = refuse  # type: ignore[method-assign]


@pytest.mark.parametrize("engine", ["threads", "processes"])
def test_a_handler_without_a_thread_for_its_goodbye_is_served_and_drained(
    engine: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    server = Server(Poor if engine == "processes" else Polite, "tcp://127.0.0.1:0", engine=engine)
    server.start()
    with call(bound(server)) as peer:
        peer.sendall(b"hello\n")
        assert read_line(peer) == b"hello\n"
        with monkeypatch.context() as patched:
            patched.setattr(threading.Thread, "start", refuse)
            assert server.close() == []
        assert everything(peer) == b""
    assert server.connections.closed == {Reason.DRAINED: 1}
