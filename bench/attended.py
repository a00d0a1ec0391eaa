"""Contestants with a control socket, and the operators' clients that are connected to it meanwhile."""

import contextlib
import threading
from collections.abc import Iterator

from bench.contestants import Contestant, place_of
from bench.processes import Cores, MeasurementError, Server, on_cores, serving
from manyhands.control.client import Client, ControlError

LOOK = 0.2
"""Seconds after which a client that watches sees that it is to end."""


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


@contextlib.contextmanager
def watcher(server: Server, *what: str) -> Iterator[None]:
    """Have a client told once a second of ``"stats"``, and of ``"events"``, and read it.

    Raises
    ------
    MeasurementError
        When it is told nothing, or not to the end.
    """
    is_over, told = threading.Event(), []
    with operator(server) as client:
        client.watch(*what, every=1.0)

        def read() -> None:
            with contextlib.suppress(ControlError):
                while not is_over.is_set():
                    told.append(client.receive(LOOK))
                return
            told.clear()

        thread = threading.Thread(target=read)
        thread.start()
        try:
            yield
        finally:
            is_over.set()
            thread.join()
    if not any(told):
        raise MeasurementError(f"the client that watches is told nothing{server.complaint()}")


@contextlib.contextmanager
def attended(contestant: Contestant, service: str, cores: Cores) -> Iterator[Server]:
    """Run a contestant's program as `serving` does, with a client that watches, where it is to have one.

    Raises
    ------
    MeasurementError
        When it does not come to listen, or tells the client nothing.
    """
    with serving(contestant, service, cores) as server, contextlib.ExitStack() as stack:
        if contestant.is_watched:
            with on_cores(cores.load):
                stack.enter_context(watcher(server, "stats", "events"))
        yield server
