"""`process_request` from several threads at once: programs submit it to an executor, as Patroni does."""

import threading
from collections.abc import Callable
from typing import Any

import pytest

from manyhands import socketserver
from manyhands.dropin import mixins
from manyhands.engines import ENGINES, Engine
from manyhands.serving.core import ServerCore, core_of
from tests.support import Echo, run_python

HERE = ("127.0.0.1", 0)


def at_the_same_time(act: Callable[[], object]) -> list[Any]:
    """Do the same in two threads; return what came of it."""
    results: list[Any] = []
    threads = [threading.Thread(target=lambda: results.append(act())) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    return results


def slow(kind: type) -> Any:
    """Return a class whose instances are made only when two threads want one."""
    both = threading.Barrier(2)

    class Slow(kind):  # type: ignore[misc]  # whatever class
        def __init__(self, *arguments: Any) -> None:
            super().__init__(*arguments)
            both.wait(20)

    return Slow


def test_two_threads_get_one_core(monkeypatch: pytest.MonkeyPatch) -> None:
    class Bare:
        pass

    server = Bare()
    monkeypatch.setattr("manyhands.serving.core.ServerCore", slow(ServerCore))
    first, second = at_the_same_time(lambda: core_of(server))
    assert first is second


def test_two_threads_get_one_engine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(ENGINES, "threads", slow(ENGINES["threads"]))
    made = ServerCore()
    with socketserver.ThreadingTCPServer(HERE, Echo) as server:
        engines: list[Engine] = at_the_same_time(lambda: made.engines.of(server, "threads"))
    assert engines[0] is engines[1]


def test_two_first_threads_get_one_set_of_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    threads: list[Any] = []

    def start(core: Any, server: Any, *_: object) -> None:
        threads.append(server._threads)

    monkeypatch.setattr(mixins, "Threads", slow(mixins.Threads))
    monkeypatch.setattr(ServerCore, "start", start)
    with socketserver.ThreadingTCPServer(HERE, Echo) as server:
        at_the_same_time(lambda: server.process_request(None, None))
    assert threads[0] is threads[1]


SUBMITTED = """
    import concurrent.futures, faulthandler, sys, threading, warnings
    from manyhands import socketserver
    from tests.support import Echo, ask, serving
    faulthandler.dump_traceback_later(50, exit=True)
    warnings.simplefilter("ignore")
    sys.setswitchinterval(1e-6)
    failures = []

    class Server(socketserver.{kind}):
        executor = concurrent.futures.ThreadPoolExecutor(4)
        max_threads = max_children = 3

        def process_request(self, request, client_address):
            def process():
                try:
                    super(Server, self).process_request(request, client_address)
                except BaseException as error:
                    failures.append(error)
            self.executor.submit(process)

    with serving(Server(("127.0.0.1", 0), Echo)) as server:
        with concurrent.futures.ThreadPoolExecutor(8) as callers:
            answers = [*callers.map(lambda _: ask(server.server_address), range(200))]
    print(set(answers), failures, len(server._threads) if hasattr(server, "_threads") else 0)
"""


@pytest.mark.parametrize("kind", ["ThreadingTCPServer", "ForkingTCPServer"])
def test_process_request_may_be_submitted_to_an_executor(kind: str) -> None:
    assert run_python(SUBMITTED.format(kind=kind)) == "{b'hello\\n'} [] 0\n"
