"""Contestants with a control socket, and the operators' clients that are connected to it meanwhile."""

import contextlib
import os
import threading
from collections.abc import Callable, Iterator

from bench.contestants import Contestant, place_of
from bench.processes import Cores, MeasurementError, Server, on_cores, serving
from manyhands.control.client import Client, ControlError

LOOK = 0.2
"""Seconds after which a client that waits sees that it is to end."""


@contextlib.contextmanager
def operator(server: Server) -> Iterator[Client]:
    """Connect to a server's control socket.

    Raises
    ------
    MeasurementError
        When it does not answer.
    """
    try:
        with Client(place_of(server.pid)) as client:
            yield client
    except ControlError as error:
        raise MeasurementError(f"{error}{server.complaint()}") from error


Work = Callable[[threading.Event, threading.Event], object]
"""Sets the first event when it is under way, and ends when the second is set."""

GIVES_WAY = os.SCHED_IDLE
"""How operators' clients are scheduled: they get what the load leaves of its core (sched(7))."""

START = 30.0
"""Seconds that an operator's client may take until it is under way."""


@contextlib.contextmanager
def meanwhile(work: Work) -> Iterator[None]:
    """Have a thread do its work, from when it is under way.

    It gives way to all else on its core: a load generator that waits for it would measure the operator.

    Raises
    ------
    MeasurementError
        When the work failed, or does not begin.
    """
    is_under_way, is_over = threading.Event(), threading.Event()
    failures: list[Exception] = []

    def run() -> None:
        with contextlib.suppress(OSError):
            # Of this thread alone (sched_setscheduler(2)).
            os.sched_setscheduler(0, GIVES_WAY, os.sched_param(0))
        try:
            work(is_under_way, is_over)
        except Exception as error:  # noqa: BLE001 - it is raised at the end
            failures.append(error)
            is_under_way.set()

    thread = threading.Thread(target=run)
    thread.start()
    try:
        if not is_under_way.wait(START):
            raise MeasurementError(f"an operator's client does not begin within {START:.0f} s")
        yield
    finally:
        is_over.set()
        thread.join()
    for failure in failures:
        raise MeasurementError(f"an operator's client failed: {failure}") from failure


@contextlib.contextmanager
def watcher(server: Server, *what: str) -> Iterator[None]:
    """Have a client told once a second of ``"stats"``, and of ``"events"``, and read it.

    Raises
    ------
    MeasurementError
        When it cannot be told, or not to the end.
    """
    with operator(server) as client:
        client.watch(*what, every=1.0)

        def read(is_under_way: threading.Event, is_over: threading.Event) -> None:
            while not is_over.is_set():
                if client.receive(LOOK) is not None:
                    is_under_way.set()

        with meanwhile(read):
            yield


@contextlib.contextmanager
def attended(contestant: Contestant, service: str, cores: Cores) -> Iterator[Server]:
    """Run a contestant's program as `serving` does, with a client that watches, where it is to have one.

    Raises
    ------
    MeasurementError
        When it does not come to listen, or the client cannot watch to the end.
    """
    with serving(contestant, service, cores) as server, contextlib.ExitStack() as stack:
        if contestant.is_watched:
            with on_cores(cores.load):
                stack.enter_context(watcher(server, "stats", "events"))
        yield server
