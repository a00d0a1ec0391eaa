"""What a handler starts is no handler, though it runs in a copy of the handler's context."""

import asyncio
import contextvars
import threading
from collections.abc import Callable
from typing import Any

import pytest

from manyhands import Server, StreamRequestHandler
from manyhands.connections.connection import current_connection
from manyhands.runtime.caller import begin_serving, current_task, end_serving
from tests.support import answering, ask, bound, server_class, serving


def by_a_thread(function: Callable[[], object]) -> None:
    """Call in a thread that inherits the context, as each does with `-X thread_inherit_context=1`."""
    context = contextvars.copy_context()
    thread = threading.Thread(target=context.run, args=(function,))
    thread.start()
    thread.join()


def by_asyncio(function: Callable[[], object]) -> None:
    asyncio.run(asyncio.to_thread(function))


WAYS = pytest.mark.parametrize("start", [by_a_thread, by_asyncio])


@WAYS
@pytest.mark.parametrize("engine", ["sequential", "threads"])
def test_what_a_handler_starts_serves_no_connection(
    engine: str, start: Callable[..., None]
) -> None:
    served: list[Any] = []

    def handler(request: Any, client_address: Any, server: Any) -> None:
        served.append(current_connection())
        start(lambda: served.append(current_connection()))
        served.append(current_connection())
        request.sendall(b"done\n")

    with serving(server_class(engine)(("127.0.0.1", 0), handler)) as server:
        assert ask(server.server_address) == b"done\n"
    own, started, afterwards = served
    assert started is None
    assert own is afterwards is not None


@pytest.mark.parametrize("engine", ["sequential", "threads", "fibers"])
def test_it_may_close_the_server(engine: str) -> None:
    told: list[object] = []

    class Quit(StreamRequestHandler):
        def handle(self) -> None:
            context = contextvars.copy_context()
            threading.Thread(target=context.run, args=(close,)).start()
            self.rfile.readline()

    def close() -> None:
        try:
            told.append(server.close())
        except RuntimeError as error:
            told.append(error)
        closed.set()

    closed = threading.Event()
    with Server(Quit, "tcp://127.0.0.1:0", engine=engine) as server:
        # The drain ends what the handler, which waits for a line, receives.
        ask(bound(server), b"")
        assert closed.wait(20)
    assert told == [[]]


def test_nor_is_a_thread_that_gets_the_identity_of_one_that_served() -> None:
    begun = begin_serving("task")
    copied = contextvars.copy_context()
    assert copied.run(current_task) == current_task() == "task"
    end_serving(begun)
    # This thread stands for a later one, to which the system has given the same identity.
    assert copied.run(current_task) is None
    assert current_task() is None


def test_a_fiber_that_a_handler_starts_is_no_handler() -> None:
    gevent = pytest.importorskip("gevent")
    begun = begin_serving("task")
    try:
        assert gevent.spawn(current_task).get() is None
        assert current_task() == "task"
    finally:
        end_serving(begun)


def test_a_handler_may_still_serve_a_request_itself() -> None:
    """And is what it was when that is over."""
    inner = server_class("sequential")(("127.0.0.1", 0), answering(b"inner\n"))
    served: list[Any] = []

    def handler(request: Any, client_address: Any, server: Any) -> None:
        served.append(current_connection())
        inner.handle_request()
        served.append(current_connection())
        request.sendall(b"outer\n")

    with inner, serving(server_class("threads")(("127.0.0.1", 0), handler)) as server:
        answers: list[bytes] = []
        thread = threading.Thread(target=lambda: answers.append(ask(inner.server_address)))
        thread.start()
        assert ask(server.server_address) == b"outer\n"
        thread.join()
    assert answers == [b"inner\n"]
    assert served[0] is served[1] is not None
