"""The latency of a server's clients beside its operators' clients, who ask for more than is good for it.

The clients send at a rate that the server can well bear, whether they are answered or not, and a latency
counts from the moment at which a message was due. A load that waits for its answers would take all of the
server's time: its latency is the length of the queue, whoever else asks for something.
"""

import contextlib
import json
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from functools import partial
from typing import Any

from bench.attended import meanwhile, operator, watcher
from bench.compare import SERVERS
from bench.contestants import place_of
from bench.operators import CONTROLLED
from bench.operators.looking import share
from bench.processes import Cores, MeasurementError, Server, crowd, load, on_cores, serving

LOAD = {"connections": 100, "size": 64, "depth": 64, "rate": 4000}
"""Some sixth of what the server can."""

STALLED = 20
"""Clients that ask for much and read nothing, at once."""

AT_ONCE = 25
"""Requests that a client sends at once, which reads the answers to those of before meanwhile."""

POLLED = {"sort": "-in", "limit": 1000}
"""The longest page, in the order that is dearest to find."""


CALM = 0.1
"""The share of a core that a server takes at most which answers no operator."""

PATIENCE = 30.0
"""Seconds until the server has answered as much as it will to those who do not read."""


def _line(verb: str, **params: object) -> bytes:
    request = {"jsonrpc": "2.0", "id": 1, "method": verb, "params": params}
    return json.dumps(request).encode() + b"\n"


def _connected(server: Server) -> socket.socket:
    peer = socket.socket(socket.AF_UNIX)
    peer.connect(f"\0{place_of(server.pid)[1:]}")
    return peer


@contextlib.contextmanager
def stalled(server: Server) -> Iterator[None]:
    """Have clients that ask for more than they read, and one that watches.

    Raises
    ------
    MeasurementError
        When the server goes on answering them.
    """
    with contextlib.ExitStack() as stack:
        stack.enter_context(watcher(server, "stats", "events"))
        for _ in range(STALLED):
            peer = stack.enter_context(_connected(server))
            peer.setblocking(False)
            with contextlib.suppress(BlockingIOError):
                while True:
                    peer.send(_line("connections.list", limit=POLLED["limit"]))
        deadline = time.monotonic() + PATIENCE
        while share(server, 0.3) > CALM:
            if time.monotonic() > deadline:
                raise MeasurementError(
                    f"the server is busy {PATIENCE:.0f} s after clients asked that do not read"
                )
        yield


@contextlib.contextmanager
def eager(verb: str, server: Server) -> Iterator[None]:
    """Have a client that asks, and reads, as fast as it can."""
    asked = _line(verb) * AT_ONCE

    def ask(is_under_way: threading.Event, is_over: threading.Event) -> None:
        with _connected(server) as peer:
            peer.settimeout(10)
            peer.sendall(asked)
            behind = 0
            while not is_over.is_set():
                peer.sendall(asked)
                behind += AT_ONCE
                while behind > 0:
                    piece = peer.recv(1 << 18)
                    if not piece:
                        raise MeasurementError("the server has closed the connection")
                    behind -= piece.count(b"\n")
                is_under_way.set()

    with meanwhile(ask):
        yield


@contextlib.contextmanager
def polling(server: Server) -> Iterator[None]:
    """Have a client that asks for the longest page once a second."""
    with operator(server) as client:

        def ask(is_under_way: threading.Event, is_over: threading.Event) -> None:
            while not is_over.is_set():
                client.call("connections.list", **POLLED)
                is_under_way.set()
                is_over.wait(1.0)

        with meanwhile(ask):
            yield


def _alone(_server: Server) -> AbstractContextManager[None]:
    return contextlib.nullcontext()


BESIDE: dict[str, Callable[[Server], AbstractContextManager[None]]] = {
    "alone": _alone,
    "stalled": stalled,
    "eager": partial(eager, "limits.get"),
    "stacks": partial(eager, "stacks"),
    "polling": polling,
}
"""Who asks meanwhile; the first is what the others are compared with."""


def measure(
    size: int, rounds: int, seconds: float, cores: Cores, tell: Callable[[dict[str, float]], Any]
) -> list[dict[str, float]]:
    """Return the 99th percentile of an echo in each case, in milliseconds, round by round.

    Parameters
    ----------
    size
        Idle connections that the server has besides.
    rounds
        How often each case has its turn.
    seconds
        How long one turn is.
    cores
        The server's, and that of all others.
    tell
        Called with each round.
    """
    found = []
    for begun in range(SERVERS):
        with serving(CONTROLLED, "echo", cores) as server, crowd(size, server, cores):
            for _ in range(begun, rounds, SERVERS):
                figures = {name: _p99(name, server, seconds, cores) for name in BESIDE}
                found.append(figures)
                tell(figures)
    return found


def _p99(name: str, server: Server, seconds: float, cores: Cores) -> float:
    with on_cores(cores.load), BESIDE[name](server):
        report = load("echo", server, cores, warmup=0.3, seconds=seconds, patience=10, **LOAD)
    return float(report["latency_us"]["p99"]) / 1000
