"""Draining: connections come to their own end, and those that take too long are cut off.

One drain serves the drop-in classes and `manyhands.Server`. Clients in the backlog are still served, the
listeners close, handlers get notice, idle connections get an end of file, and after the timeout the
connections that are left are cut off.
"""

import contextlib
import math
import socket
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from manyhands.connections.connection import Connection
from manyhands.engines import Engine, Task
from manyhands.model import lazy_events as events
from manyhands.model.connection_states import Reason, State
from manyhands.model.event_hub import event_hub
from manyhands.model.socket_addresses import format_address
from manyhands.model.timeouts import SILENT_FOR
from manyhands.runtime.sockets import has_client_waiting, is_closed
from manyhands.serving.accept_loop import LetGo, close_waiting, has_let_go, note_refused
from manyhands.serving.closing_pace import have_had_their_turn
from manyhands.serving.core import ServerCore, core_of
from manyhands.serving.request_hooks import Listener, handle_request_noblock
from manyhands.serving.stack_location import stack_locations

DRAIN_INTERVAL = 0.05
"""Seconds between two turns of a drain: so soon it sees a second signal, or a connection that became idle."""

REPORTED_AFTER = 0.5
"""Seconds after which a drain that goes on is an event: an operator at a terminal has begun to wonder."""

UNWINDING = 1.0
"""Seconds that handlers get to unwind after their connections were cut off."""

UNWINDING_IN_A_HURRY = 0.1
"""The same after a second signal: enough for a `finally`, and short for an operator."""


BACKLOG_SHARE = 0.5
"""The share of a drain's time in which clients of the backlog may begin: a later one is cut off soon."""


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
        The function and the line of the program that its handler was executing, as
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
    timeout: Callable[[], float],
    hurry: Callable[[], bool],
    join: Callable[[float], bool],
    began: float | None = None,
) -> list[CutOff]:
    """Wait until the engines of a core serve no connection; cut off those that go on too long.

    Handlers that have a `goodbye` get it called, and connections that are idle, or become so, are
    half-closed: all at once, or a few at a time where the core says so (`spreads_closings`).

    Parameters
    ----------
    core
        The core of a server whose listeners are closed: nothing new may come to its engines.
    timeout
        Returns the seconds that the connections get, in all; asked at each turn.
    hurry
        Asked at each turn; True ends the waiting.
    join
        Waits until no connection is served and none can begin, for so many seconds at most; returns whether
        that is so.
    began
        When the seconds began, by `time.monotonic`; None: now.

    Returns
    -------
    list of CutOff
        The connections that were cut off, in the order of their numbers.
    """
    began = time.monotonic() if began is None else began
    was_reported, notified = False, _Notified(core)
    notified.look(core, 0.0, timeout())
    while not join(DRAIN_INTERVAL):
        passed = time.monotonic() - began
        running = sum(engine.running() for engine in core.engines)
        if not was_reported and passed >= REPORTED_AFTER and running:
            was_reported = True
            if event_hub.has_subscribers:
                event_hub.emit(events.Draining(running, timeout()))
        if hurry() or passed >= timeout():
            notified.close_subscriptions(core)
            left = cut_off(core)
            if not join(UNWINDING_IN_A_HURRY if hurry() else UNWINDING):
                leave_behind(core)
            return left
        notified.look(core, passed, timeout())
    notified.close_subscriptions(core)
    return []


def cut_off(core: ServerCore) -> list[CutOff]:
    """End all connections, without waiting for their workers; return which they were, by their numbers."""
    left = [cut for engine in core.engines for cut in _cut_off(engine)]
    return sorted(left, key=lambda cut: cut.number)


def leave_behind(core: ServerCore) -> None:
    """Count connections no longer that were cut off and whose workers go on: nothing waits for them again."""
    # All of them, whatever a subscriber raises that is told of one.
    with contextlib.ExitStack() as stack:
        for engine in core.engines:
            for connection in _connections_in(engine):
                stack.callback(connection.abandon)


def end_at_once(core: ServerCore) -> list[CutOff]:
    """Cut all connections off, and count them no longer: what waited for them was interrupted."""
    left, deadline = cut_off(core), time.monotonic() + UNWINDING
    for engine in core.engines:
        # A process is killed, and dies at once; its end is still to be noticed, and told to subscribers.
        while engine.name == "processes" and engine.running() and time.monotonic() < deadline:
            with contextlib.suppress(BaseException):
                engine.join(UNWINDING_IN_A_HURRY)
    leave_behind(core)
    return left


def _connections_in(engine: Engine) -> list[Connection]:
    return [task for task in engine.tasks if isinstance(task, Connection)]


def _cut_off(engine: Engine) -> list[CutOff]:
    # Before the cut: afterwards each handler stands where its error took it.
    doing = stack_locations(engine)
    left = []
    for connection in _connections_in(engine):
        # An earlier drain may have left one behind that its engine still carries: that was reported then.
        if connection.state is not State.CLOSED:
            # The reason before the cut below: a worker that ends at once would note one of its own.
            connection.decide_end(Reason.CUT_OFF)
            age = time.monotonic() - connection.opened_at
            peer = format_address(connection.client_address)
            where = doing.get(connection) or connection.handler
            left.append(CutOff(connection.number, peer, age, where))
    engine.cut_off()
    return left


class _Notified:
    """The connections whose handlers have notice of the drain, and those that were half-closed for it.

    Parameters
    ----------
    core
        The core of the server, when the drain begins.
    """

    def __init__(self, core: ServerCore) -> None:
        self._count = sum(engine.running() for engine in core.engines)
        self._had_turn: set[int] = set()
        self._said_goodbye: set[int] = set()
        self._half_closed: set[int] = set()
        self._has_subscriptions = core.spreads_closings

    def close_subscriptions(self, core: ServerCore) -> None:
        """Close what was left open when the drain began; a handler's own end with its connection's turn."""
        if self._has_subscriptions:
            self._has_subscriptions = False
            core.exchange.close_subscriptions()

    def look(self, core: ServerCore, passed: float, timeout: float) -> None:
        """Have goodbyes called, and half-close idle connections.

        `passed` are the seconds that have passed of a drain's `timeout`.
        """
        turns = math.inf
        if core.spreads_closings:
            turns = have_had_their_turn(self._count, passed, timeout)
        if turns >= self._count:
            turns = math.inf  # for those too that a loop which was held up has begun since
            self.close_subscriptions(core)
        for engine in core.engines:
            connections = [
                each
                for each in _connections_in(engine)
                if not _is_to_go(core, each) and self._has_turn(each.number, turns)
            ]
            # The goodbyes first: a handler that reads an end of file may return at once.
            for connection in connections:
                self._say_goodbye(connection, engine)
            for connection in connections:
                if connection.number in self._half_closed:
                    continue
                if _is_idle(connection, core.rooms.told_at(connection), passed):
                    self._half_closed.add(connection.number)
                    connection.end_input()

    def _has_turn(self, number: int, turns: float) -> bool:
        if number not in self._had_turn and len(self._had_turn) < turns:
            self._had_turn.add(number)
        return number in self._had_turn

    def _say_goodbye(self, connection: Connection, engine: Engine) -> None:
        goodbye = getattr(connection, "goodbye", None)
        if goodbye is None or connection.number in self._said_goodbye:
            return
        self._said_goodbye.add(connection.number)
        if goodbye.falls_due():
            try:
                engine.beside(goodbye.call)
            except (RuntimeError, MemoryError):
                goodbye.withdraw()  # the system has no thread for it


def _is_to_go(core: ServerCore, connection: Connection) -> bool:
    """Tell whether another process goes on with a connection: of this one's end it is to notice nothing."""
    hand_over = core.hand_over
    return hand_over is not None and hand_over.is_to_go(connection.number)


def _is_idle(connection: Connection, told_at: float | None, passed: float) -> bool:
    is_idle = connection.is_idle(told_at)
    # Where the traffic is not counted, a connection is taken for idle once the drain has lasted that long.
    return passed >= SILENT_FOR if is_idle is None else is_idle


def give_notice(core: ServerCore) -> None:
    """Have handlers see from now on that their server drains, when they ask or wait for that."""
    core.registry.is_draining = True
    if not core.spreads_closings:
        core.exchange.close_subscriptions()
    if core.drain_notice is not None:
        with contextlib.suppress(OSError):
            core.drain_notice.set()


def serve_backlog(
    server: Any, engine: Engine, is_in_a_hurry: Callable[[], bool], deadline: float
) -> None:
    """Serve the clients in the backlog until `deadline`: closing the listener would reset their connections.

    A server that is suspended serves none of them.
    """
    core = core_of(server)
    if getattr(server, "socket_type", None) != socket.SOCK_STREAM or core.is_suspended:
        return
    if has_let_go(server):
        return
    core.retry_workers(time.monotonic())
    # No more than the backlog holds: new clients may be coming all the time.
    for _ in range(server.request_queue_size):
        if (
            is_in_a_hurry()
            or time.monotonic() >= deadline
            or not (engine.has_room() and core.admission.has_room())
            or server.fileno() < 0
            or not has_client_waiting(server)
        ):
            break
        handle_request_noblock(server)
        if core.seconds_to_rest():
            break  # out of descriptors, or of workers


def refuse_backlog(server: Any) -> None:
    """Close the clients that are still in the backlog: their time is over, and the listener closes."""
    listening = getattr(server, "socket", None)
    if getattr(server, "socket_type", None) != socket.SOCK_STREAM or is_closed(listening):
        return
    count = close_waiting(server.socket, server.request_queue_size)
    note_refused(server, count, Reason.REFUSED_STOPPING, "the server stops")


def drain_orphan(task: Task, timeout: float) -> None:
    """Drain a handler's process whose parent has gone, and keep its deadlines. For a thread of its own there.

    The server does not exist any more, so its handlers have no longer than in a drain.
    """
    assert isinstance(task, Connection)  # noqa: S101 - tells the type checker
    core = core_of(task.server)
    core.reaper.adopt(task)
    core.registry.is_draining = True

    def wait(seconds: float) -> bool:
        core.reaper.look()
        time.sleep(seconds)
        return False  # the process ends with the connection

    drain(core, lambda: timeout, lambda: False, wait)


def drain_drop_in(
    server: Listener, stop: Callable[[], None], stop_and_wait: Callable[[], None], timeout: float
) -> list[CutOff]:
    """Drain a drop-in server: stop its loops, close its listener, wait for its connections.

    Parameters
    ----------
    server
        The server.
    stop
        Has its loops end, without waiting for that.
    stop_and_wait
        Has its loops end, and waits for their ends.
    timeout
        Seconds that the connections get.

    Raises
    ------
    RuntimeError
        When a handler of the server calls it.
    """
    core, began = core_of(server), time.monotonic()
    engine = core.engines.of(server)
    if engine.name == "sequential":
        # Its handler runs in the loop itself, so waiting for the loop would be waiting without a timeout.
        stop()
    else:
        # In one step: a stop that comes after their end would be kept for the next `serve_forever`.
        stop_and_wait()
        serve_backlog(server, engine, lambda: False, began + timeout * BACKLOG_SHARE)
        core.refuse_waiting(server)
    _let_go(server)
    give_notice(core)
    return drain(
        core,
        lambda: timeout,
        lambda: False,
        lambda most: all(engine.join(most) for engine in core.engines),
        began,
    )


def _let_go(server: Listener) -> None:
    """Have the kernel refuse new clients from now on, unless other processes listen on the same socket.

    The socket is closed and not shut down: pre-forked servers share it, and systemd keeps it for the next
    run.
    """
    listening: Any = getattr(server, "socket", None)
    if getattr(server, "socket_type", None) == socket.SOCK_STREAM and not is_closed(listening):
        # When the system has no descriptor for the new one (EMFILE), the closed socket stays in its place.
        with contextlib.suppress(OSError, AttributeError):
            server.socket = LetGo(listening.family, listening.type)
        listening.close()
