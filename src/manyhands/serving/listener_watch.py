"""One listener in an accept loop: polled while a connection could be served, left alone otherwise."""

import selectors
import time
from collections.abc import Callable

from manyhands.model import lazy_events as events
from manyhands.model.event_hub import event_hub
from manyhands.model.socket_addresses import format_address
from manyhands.runtime.sockets import poll_to_read
from manyhands.serving.core import core_of
from manyhands.serving.request_hooks import Listener

ROOM_INTERVAL = 0.5
"""Seconds between two looks for room where nothing wakes the loop: a program may close what it has taken
over."""

_NO_SOCKET = (AttributeError, OSError, ValueError)
"""What `fileno` raises of a listener whose socket the program has taken away."""


class ListenerWatch:
    """One listener in the loop's selector.

    Parameters
    ----------
    listener
        The server.
    selector
        What the loop waits with.
    wake
        Wakes the loop.

    Raises
    ------
    ValueError
        When the listening socket is closed.
    """

    def __init__(
        self, listener: Listener, selector: selectors.BaseSelector, wake: Callable[[], None]
    ) -> None:
        self.listener = listener
        self.core = core_of(listener)
        self.engine = self.core.engines.of(listener)
        self._has_place = self.core.room_for(listener)
        self._selector = selector
        self._wake = wake
        self.polled: int | None = None
        """The descriptor that the selector has; None while the listener is left alone."""

        self.is_closed = False
        """Whether the listening socket has been closed. Some programs take the socket away when they stop."""

        self.is_crowded = False
        """Whether the engine was full, and the backlog has not been empty since."""

        self._poll(listener.fileno())

    def _poll(self, descriptor: int) -> None:
        self.leave_alone()
        self._selector.register(descriptor, selectors.EVENT_READ, self)
        self.polled = descriptor
        self._look = poll_to_read(descriptor)

    def leave_alone(self) -> None:
        """Have the listener polled no longer."""
        if self.polled is not None:
            self._selector.unregister(self.polled)
            self.polled = None

    def prepare(self, now: float) -> float | None:
        """Poll the listener, or leave it alone, before the loop sleeps.

        Returns
        -------
        float or None
            The seconds after which to look again; None where something wakes the loop.
        """
        try:
            descriptor = self.listener.fileno()
        except _NO_SOCKET:
            descriptor = -1
        if descriptor < 0:
            # poll(2) would report a closed descriptor for ever.
            self.leave_alone()
            self.is_closed = True
            return 0.0
        core = self.core
        retry = core.retry_workers(now)
        if core.is_suspended or core.is_read_elsewhere:
            self.leave_alone()
            return retry  # `resume` wakes the loop
        rest = core.seconds_to_rest()
        # `has_room` is asked again before each accept, and costs more.
        may_be_polled = not rest and (
            (self.polled is not None and self.engine.has_room() and self._has_place())
            or self.has_room()
        )
        if not may_be_polled:
            self.leave_alone()
            return rest or (None if self._has_place() else ROOM_INTERVAL)
        if descriptor != self.polled:
            self._poll(descriptor)
        return None

    def may_accept(self, *, is_first: bool) -> bool:
        """Tell whether a connection may be accepted now: what came before it may have changed anything.

        Of the first one in a turn the poll has told; for the others a look tells whether there is one.
        """
        core = self.core
        has_client = (
            self.has_room()
            if is_first
            else self.engine.has_room()
            and self._has_place()
            and not core.seconds_to_rest()
            and self._look.poll(0)
        )
        try:
            # Last: a client that called after the listener was suspended is seen only by a look later still.
            return bool(
                has_client and not core.is_suspended and self.listener.fileno() == self.polled
            )
        except _NO_SOCKET:
            return False

    def has_room(self) -> bool:
        """Tell whether the next connection would be served at once; if not, room wakes the loop."""
        core = self.core
        # Asked for anew each time: a program may change its engine, or its bound, at any time.
        engine = self.engine = core.engines.of(self.listener)
        engine.on_room = self._wake
        core.options.follow(self.listener, time.monotonic(), core.engines)
        has_worker = engine.has_room()
        if has_worker and self._has_place(self._wake):
            return True
        if not self.is_crowded and (has_worker or engine.is_full_for_long):
            self.is_crowded = True
            self._tell_of_crowd(is_engine_full=not has_worker)
        return False

    def _tell_of_crowd(self, *, is_engine_full: bool) -> None:
        described, engine = format_address(self.listener.server_address), self.engine
        admission = self.core.admission
        if not event_hub.has_subscribers:
            return
        if is_engine_full:
            event_hub.emit(events.EngineFull(described, engine.name, engine.limit or 0))
        elif self._has_place == admission.has_room:
            event_hub.emit(events.ServerFull(described, admission.most))
        else:
            event_hub.emit(events.DatagramsFull(described, admission.most_datagrams))

    def note_empty_backlog(self) -> None:
        """Note that the selector did not name the listener: if it was polled, its backlog is empty.

        That of fibers may not have looked yet at a listener that it has just been given.
        """
        if self.polled is not None and not self._look.poll(0):
            self.is_crowded = False
