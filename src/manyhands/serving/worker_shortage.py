"""What a server does while no worker can be had: it accepts nothing, and an accepted client waits.

A fork, a thread, or what has to be had before one, may fail as `accept` may: for want of descriptors, memory,
processes or threads. Such a shortage ends as a rule, so it is treated in the same way: a rest, and after
`REFUSE_AFTER` seconds a refusal.
"""

import time
from collections import deque
from collections.abc import Callable
from typing import Any

from manyhands.connections.connection import Connection
from manyhands.model import lazy_events as events
from manyhands.model.accept_errors import Backoff, is_exhausted
from manyhands.model.connection_states import Reason, State
from manyhands.model.event_hub import event_hub
from manyhands.model.socket_addresses import format_address
from manyhands.runtime.fork_hooks import renew_in_copies
from manyhands.serving.request_hooks import shut_down

Refuse = Callable[[Any, Any, Any, Exception], None]
"""Reports an error to a server, and closes the request, of an address, that it was about."""


_TOLD = "_manyhands_told"
"""The attribute of an error of which an event has told."""


def is_told(error: BaseException) -> bool:
    """Tell whether an event has told of an error: that there was no worker for a connection."""
    return _TOLD in vars(error)


def tell_of_pause(server: Any, error: Exception, reason: str) -> None:
    """Tell that nothing more is accepted for now: of a shortage, at its first failure."""
    if event_hub.has_subscribers:
        listener, number = format_address(server.server_address), getattr(error, "errno", None)
        event_hub.emit(events.AcceptPaused(listener, number, reason))


def end_pause(backoff: Backoff, server: Any) -> None:
    """Note that a client was accepted, or has a worker, and tell of the end of the pause before it."""
    paused = backoff.succeed(time.monotonic())
    if paused is not None and event_hub.has_subscribers:
        event_hub.emit(events.AcceptResumed(format_address(server.server_address), paused))


_BEFORE_A_WORKER = frozenset({State.ACCEPTED, State.CLOSING})
"""The states of a connection that has had no worker: it may be kicked before its turn comes."""


class WorkerShortage:
    """The shortage of workers of one server, if there is one, and the connections that wait for its end.

    As a rule one connection waits, since the accept loops rest from the first failure on. It is in the
    registry, and may be kicked. Thread-safe.
    """

    def __init__(self) -> None:
        self.backoff = Backoff()
        """Grows while there is no worker for the connections that come in."""

        self.is_of_descriptors = False
        """Whether the latest failure was for want of descriptors or memory."""

        self._begin_anew()
        renew_in_copies(self, WorkerShortage._begin_anew)

    def _begin_anew(self) -> None:
        self._waiting: deque[tuple[Connection, Exception]] = deque()

    def start(self, connection: Connection, *, may_wait: bool) -> bool:
        """Have a connection's engine serve it; return False when it waits for a worker instead.

        Raises
        ------
        OSError, RuntimeError or MemoryError
            When there is no worker, and it may not wait, or has waited too long.
        BaseException
            Whatever else a hook, a handler in this very thread, or a subscriber raised.
        """
        try:
            connection.engine.start(connection)
        except BaseException as error:
            if connection.state not in _BEFORE_A_WORKER or connection.engine.has_taken(connection):
                raise  # it has a worker, which brings it to its end
            if not isinstance(error, OSError | RuntimeError | MemoryError):
                connection.was_not_served(Reason.REFUSED_BY_HOOK)
                raise
            if self._note_failure(connection, error, may_wait=may_wait):
                self._waiting.append((connection, error))
                return False
            raise
        if self.backoff.since is not None:
            end_pause(self.backoff, connection.server)
        return True

    def _note_failure(self, connection: Connection, error: Exception, *, may_wait: bool) -> bool:
        """Note that there was no worker; return whether the connection may go on waiting for one."""
        now = time.monotonic()
        # Python's own error of memory has no text.
        reason = getattr(error, "strerror", None) or str(error) or type(error).__name__
        self.is_of_descriptors = is_exhausted(error)
        is_first = self.backoff.fail(now, reason)
        waits = may_wait and not self.backoff.patience_is_over(now)
        try:
            if waits and is_first:
                tell_of_pause(connection.server, error, reason)
        except BaseException:
            self._give_up(connection, error)
            raise
        if not waits:
            self._give_up(connection, error)
        return waits

    def _give_up(self, connection: Connection, error: Exception) -> None:
        connection.was_not_served(
            Reason.REFUSED_OUT_OF_DESCRIPTORS if self.is_of_descriptors else Reason.NO_WORKER
        )
        if event_hub.has_subscribers:
            vars(error)[_TOLD] = True
            engine, peer = connection.engine.name, connection.client_address
            event_hub.emit(events.WorkerFailed(engine, peer, str(error) or type(error).__name__))

    def retry(self, refuse: Refuse) -> None:
        """Have those begin that wait, as far as there are workers, and refuse those that waited too long."""
        while not self.backoff.resting(time.monotonic()):
            try:
                connection, error = self._waiting.popleft()
            except IndexError:
                return
            request, address = connection.request, connection.client_address
            try:
                if connection.reason is not None:  # kicked, or expired, meanwhile
                    connection.was_not_served(connection.reason)
                    shut_down(connection.server, request, address)
                elif connection.engine.has_room():
                    self.start(connection, may_wait=True)
                else:
                    self._waiting.appendleft((connection, error))
                    return
            except Exception as failure:  # noqa: BLE001 - it is the server's, as that of a first try
                refuse(connection.server, request, address, failure)
            except BaseException:
                shut_down(connection.server, request, address)
                raise

    def end(self, server: object, refuse: Refuse) -> None:
        """Refuse those of a server that wait: it closes."""
        for _ in range(len(self._waiting)):
            connection, error = self._waiting.popleft()
            if connection.server is not server:
                self._waiting.append((connection, error))
                continue
            try:
                self._give_up(connection, error)
            finally:
                refuse(server, connection.request, connection.client_address, error)

    def seconds_to_retry(self, now: float) -> float | None:
        """Return the seconds after which to retry; None while no connection waits."""
        return self.backoff.resting(now) if self._waiting else None
