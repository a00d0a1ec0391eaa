"""Finds the fiber that holds up all the others: in a C function, or in a long computation.

A thread of its own looks at the hub from outside, several times within the time that is allowed. So the
fibers pay nothing for it. A hub whose loop has not turned since the last look is either asleep, and then the
frame on top of its thread is its own, or it waits for the fiber whose frame is on top there.
"""

import sys
import time
import traceback
from collections.abc import Callable
from types import CodeType, FrameType
from typing import Any

from gevent import monkey
from gevent.hub import Hub

from manyhands.model import lazy_events as events
from manyhands.model.event_hub import hub as event_hub
from manyhands.runtime.unpatched import start_native_thread

_sleep = monkey.get_original("time", "sleep")

LOOKS_PER_LIMIT = 4
"""Looks within the time that is allowed: so much finer is the time that is told."""

_ASLEEP: CodeType = Hub.run.__code__


class Watchdog:
    """Tells, as events, when a hub does not turn for longer than is allowed, and when it does again.

    Parameters
    ----------
    hub : gevent.hub.Hub
        The hub to watch.
    thread : int
        The hub's thread.
    allowed : callable
        Returns the seconds that one fiber may take before it lets others run; None for as long as it
        likes. Asked at each look.
    served_by : callable
        Returns what a frame of the hub's thread serves: the name of the handler and the client's address.
    """

    def __init__(
        self,
        hub: Any,
        thread: int,
        allowed: Callable[[], float | None],
        served_by: Callable[[FrameType], tuple[str, object]],
    ) -> None:
        self._hub = hub
        self._thread = thread
        self._allowed = allowed
        self._served_by = served_by
        self._turn = -1
        self._since = time.monotonic()
        self._blocking: tuple[str, object] | None = None
        self._is_closed = False
        start_native_thread(self._run)

    def close(self) -> None:
        """Stop. Before the hub goes."""
        self._is_closed = True

    def _run(self) -> None:
        while not self._is_closed:
            allowed = self._allowed()
            _sleep((0.1 if allowed is None else allowed) / LOOKS_PER_LIMIT)
            # Between these two lines the interpreter lock is held, so the hub is there or it is closed.
            if not self._is_closed:
                self._look(time.monotonic(), allowed)

    def _look(self, now: float, allowed: float | None) -> None:
        # libev counts the turns of its loop anyway (`ev_iteration`), so the hub has no work with this.
        turn = self._hub.loop.iteration
        frame = None if turn != self._turn else sys._current_frames().get(self._thread)
        if frame is None or frame.f_code is _ASLEEP:
            self._goes_on(now)
            self._turn, self._since = turn, now
        elif allowed is not None and now - self._since >= allowed and self._blocking is None:
            self._blocking = self._served_by(frame)
            stack = "".join(traceback.format_stack(frame))
            if event_hub.has_subscribers:
                event_hub.emit(events.HubBlocked(*self._blocking, now - self._since, stack))

    def _goes_on(self, now: float) -> None:
        if self._blocking is not None:
            if event_hub.has_subscribers:
                event_hub.emit(events.HubUnblocked(*self._blocking, now - self._since))
            self._blocking = None
