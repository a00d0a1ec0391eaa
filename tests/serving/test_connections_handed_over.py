"""A fiber's connection handed to another process, which serves its client from then on."""

import multiprocessing
import os
import pickle
import subprocess
import sys
from collections.abc import Iterator
from multiprocessing import resource_tracker
from typing import Any

import pytest

import manyhands
from manyhands import BaseRequestHandler, FiberTCPServer
from tests.support import call, everything, serving

HERE = ("127.0.0.1", 0)

pytestmark = pytest.mark.filterwarnings("ignore:.*fork")


def answer_elsewhere(inbox: Any) -> None:
    with inbox.recv() as connection:
        while data := connection.recv(100):
            connection.sendall(data.upper())


@pytest.fixture
def _tracker_ends() -> Iterator[None]:
    """End the process that `multiprocessing` starts beside a spawned one; it would outlive the tests."""
    yield
    tracker: Any = resource_tracker._resource_tracker  # type: ignore[attr-defined]
    tracker._stop()


@pytest.mark.usefixtures("_tracker_ends")
@pytest.mark.parametrize("way", ["fork", "spawn"])
def test_multiprocessing_sends_it(way: str) -> None:
    context: Any = multiprocessing.get_context(way)
    inbox, outbox = context.Pipe(duplex=False)
    worker = context.Process(target=answer_elsewhere, args=(inbox,))
    worker.start()

    class HandingOver(BaseRequestHandler):
        def handle(self) -> None:
            self.request.getpeername()  # which makes it a socket that does not block
            manyhands.blocking(outbox.send, self.request)
            self.request.close()

    with serving(FiberTCPServer(HERE, HandingOver)) as server, call(server.server_address) as peer:
        for word in (b"one", b"two"):
            peer.sendall(word)
            assert peer.recv(100) == word.upper()
    worker.join(20)
    assert worker.exitcode == 0


def test_pickle_alone_refuses_it_as_any_other() -> None:
    refusals: list[str] = []

    class Pickling(BaseRequestHandler):
        def handle(self) -> None:
            try:
                pickle.dumps(self.request)
            except TypeError as error:
                refusals.append(str(error))

    with serving(FiberTCPServer(HERE, Pickling)) as server, call(server.server_address) as peer:
        everything(peer)
    assert len(refusals) == 1


def test_a_program_that_a_handler_starts_talks_with_the_client() -> None:
    # As docs/drop-in.md says: it is to block, while the fibers leave it alone.
    program = "import sys; print(sys.stdin.readline().upper(), end='')"

    class Starting(BaseRequestHandler):
        def handle(self) -> None:
            self.request.getpeername()
            os.set_blocking(self.request.fileno(), True)
            manyhands.blocking(
                subprocess.run,
                [sys.executable, "-c", program],
                stdin=self.request,
                stdout=self.request,
                check=True,
            )

    with serving(FiberTCPServer(HERE, Starting)) as server, call(server.server_address) as peer:
        peer.sendall(b"hello\n")
        assert everything(peer) == b"HELLO\n"
