"""Draining: letting connections come to their own end, for so long and no longer.

One drain serves the drop-in classes and `manyhands.Server`: clients in the backlog are still served, the
listeners stop, handlers are told, idle connections get an end of file, and what goes on after the time
given is cut off.
"""

import contextlib
import socket
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from manyhands.connections.connection import Connection
from manyhands.engines import Engine
from manyhands.model import lazy_events as events
from manyhands.model.connection_states import Reason, State
from manyhands.model.event_hub import hub
from manyhands.model.socket_addresses import format_address
from manyhands.model.timeouts import SILENT_FOR
from manyhands.runtime.sockets import has_client_waiting, is_closed
from manyhands.serving.accept_loop import LetGo, has_let_go
from manyhands.serving.core import ServerCore, core_of
from manyhands.serving.request_hooks import handle_request_noblock
from manyhands.serving.stack_location import stack_locations

LOOK_INTERVAL = 0.05
"""Seconds: how soon a drain notices that it is to hurry, or that a connection has become idle."""

TOLD_AFTER = 0.5
"""Seconds after which a drain that goes on is told of: an operator at a terminal has begun to wonder."""

UNWINDING = 1.0
"""Seconds that handlers get to unwind after their connections were cut off."""

UNWINDING_IN_A_HURRY = 0.1
"""The same when the end was asked for twice: enough for a `finally`, and soon for an operator."""


@dataclass(frozen=True, slots=True)
class CutOff:
    """A connection that a drain did not wait for.

    Attributes
    ----------
    number : int
        The connection's number.
    peer : str
        The client's address.
    age : float
        Seconds since the connection was accepted.
    doing : str
        What it was doing: the function and the line of the program at which its handler stood, as
        ``Handler.handle, examples/echo.py:12``; in a process of its own, ``Handler, in process 4711``.
    """

    number: int
    peer: str
    age: float
    doing: str = ""

    def __str__(self) -> str:
        doing = f": {self.doing}" if self.doing else ""
        return f"#{self.number} {self.peer}, {self.age:.1f} s old{doing}"


def drain(
    core: ServerCore,
    timeout: float,
    hurry: Callable[[], bool],
    join: Callable[[float], bool],
    began: float | None = None,
) -> list[CutOff]:
    """Wait until no connection is under way in the engines of a core; cut off those that go on too long.

    Handlers are told (`goodbye`), and connections that are idle, or become so, are half-closed.

    Parameters
    ----------
    core
        Nothing new must come to its engines any more.
    timeout
        Seconds that the connections get.
    hurry
        Asked again and again; True ends the waiting.
    join
        Waits until no connection is under way and none can begin, at most so many seconds; tells whether
        that came to be.
    began
        When the time began, by the monotonic clock; None: now.

    Returns
    -------
    list of CutOff
        The connections that were cut off, in the order of their numbers.
    """
    began = time.monotonic() if began is None else began
    was_told, ending = False, _Ending()
    ending.look(core, 0.0)
    while not join(LOOK_INTERVAL):
        passed = time.monotonic() - began
        running = sum(engine.running() for engine in core.engines)
        if not was_told and passed >= TOLD_AFTER and running:
            was_told = True
            if hub.has_subscribers:
                hub.emit(events.Draining(running, timeout))
        if hurry() or passed >= timeout:
            left = cut_off(core)
            if not join(UNWINDING_IN_A_HURRY if hurry() else UNWINDING):
                leave_behind(core)
            return left
        ending.look(core, passed)
    return []


def cut_off(core: ServerCore) -> list[CutOff]:
    """End all connections under way, without waiting for it; return which they were, by their numbers."""
    left = [cut for engine in core.engines for cut in _cut_off(engine)]
    return sorted(left, key=lambda cut: cut.number)


def leave_behind(core: ServerCore) -> None:
    """Count those no longer that have been cut off and go on: nothing is to wait for them again."""
    for engine in core.engines:
        for connection in _connections_in(engine):
            connection.abandon()


def _connections_in(engine: Engine) -> list[Connection]:
    return [task for task in engine.tasks if isinstance(task, Connection)]


def _cut_off(engine: Engine) -> list[CutOff]:
    doing = stack_locations(engine)
    left = []
    for connection in _connections_in(engine):
        # One that was left behind before is no news, where its engine still carries it.
        if connection.state is not State.CLOSED:
            connection.decide_end(Reason.CUT_OFF)
            age = time.monotonic() - connection.opened_at
            peer = format_address(connection.client_address)
            where = doing.get(connection) or connection.handler
            left.append(CutOff(connection.number, peer, age, where))
    engine.cut_off()
    return left


class _Ending:
    """Which connections have been told of the drain, and which had their input ended."""

    def __init__(self) -> None:
        self._told: set[int] = set()
        self._ended: set[int] = set()

    def look(self, core: ServerCore, passed: float) -> None:
        """Tell handlers of the drain, and half-close idle connections, `passed` seconds into it."""
        for engine in core.engines:
            connections = _connections_in(engine)
            # First, for a handler that reads an end of file may be gone at once.
            for connection in connections:
                self._tell(connection, engine)
            for connection in connections:
                if connection.number not in self._ended and _is_idle(connection, passed):
                    self._ended.add(connection.number)
                    connection.end_input()

    def _tell(self, connection: Connection, engine: Engine) -> None:
        goodbye = getattr(connection, "goodbye", None)
        if goodbye is None or connection.number in self._told:
            return
        self._told.add(connection.number)
        if goodbye.falls_due():
            try:
                engine.beside(goodbye.call)
            except RuntimeError:
                goodbye.withdraw()  # the system has no thread for it


def _is_idle(connection: Connection, passed: float) -> bool:
    is_idle = connection.is_idle()
    # Where the kernel counts nothing, no connection is known to have been silent for longer.
    return passed >= SILENT_FOR if is_idle is None else is_idle


def give_notice(core: ServerCore) -> None:
    """Have handlers that ask see that their server drains, from now on."""
    core.registry.is_draining = True
    if core.drain_notice is not None:
        with contextlib.suppress(OSError):
            core.drain_notice.set()


def serve_backlog(server: Any, engine: Engine, is_in_a_hurry: Callable[[], bool]) -> None:
    """Serve the clients that have connected already: to close the listener would be to hang up on them.

    Of a server that was suspended none is served.
    """
    core = core_of(server)
    if getattr(server, "socket_type", None) != socket.SOCK_STREAM or core.is_suspended:
        return
    if has_let_go(server):
        return
    # No more than the backlog holds: others may be calling all the time.
    for _ in range(server.request_queue_size):
        if (
            is_in_a_hurry()
            or not (engine.has_room() and core.admission.has_room())
            or server.fileno() < 0
            or not has_client_waiting(server)
        ):
            break
        handle_request_noblock(server)
        if core.seconds_to_rest(time.monotonic()):
            break  # out of descriptors, or of workers


def drain_drop_in(
    server: Any, stop: Callable[[], None], stop_and_wait: Callable[[], None], timeout: float
) -> list[CutOff]:
    """Drain a server of the `socketserver` family; `stop` has its loops end.

    Raises
    ------
    RuntimeError
        When a handler of the server calls it.
    """
    core = core_of(server)
    engine = core.engine_of(server)
    if engine.name == "sequential":  # which serves in the loop, and ends with it
        stop()
    else:
        # One step: a stop that comes when they have ended would be kept for the next `serve_forever`.
        stop_and_wait()
        serve_backlog(server, engine, lambda: False)
    _let_go(server)
    give_notice(core)
    return drain(core, timeout, lambda: False, lambda most: all(e.join(most) for e in core.engines))


def _let_go(server: Any) -> None:
    """Have the kernel refuse new clients from now on, unless other processes listen on the same socket.

    Nothing is done to the socket itself, which pre-forked servers share, and systemd holds for the next run.
    """
    listening: Any = getattr(server, "socket", None)
    if getattr(server, "socket_type", None) == socket.SOCK_STREAM and not is_closed(listening):
        # Without a descriptor to be had for it, the closed socket stays.
        with contextlib.suppress(OSError, AttributeError):
            server.socket = LetGo(listening.family, listening.type)
        listening.close()
