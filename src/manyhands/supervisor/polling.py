"""What the supervisor's accept loop waits with: its listeners, and besides them all that its workers tell."""

import contextlib
import math
import select
import selectors
import time
from collections.abc import Callable, Mapping
from typing import Any

from manyhands.runtime.error_reports import print_uncaught
from manyhands.runtime.unpatched import original
from manyhands.runtime.wakeup import WakeUp

Act = Callable[[int], bool | None]
"""Does what is to be done about a descriptor, with the events of epoll(7) that have come. True, where nothing
has changed by it that a look is needed for, as when a connection has ended."""

SETTLE_INTERVAL = 0.05
"""Seconds within which there is a look after clients have called: at what workers have begun of those that
they were dealt."""


class Polling(selectors.BaseSelector):
    """Waits on one epoll descriptor. What is watched is served within `select`, in the thread that calls it.

    Parameters
    ----------
    seconds_left
        Returns the seconds until something is due; None for never.
    look
        Does what is due. It is called when the time has come, when another thread has woken the loop, and
        after what may have changed what is due: not for each client that comes or goes.
    next_brief_look
        Called before each wait, with the time: it looks for what has ended, if that is due, and returns when
        it is due again.
    """

    def __init__(
        self,
        seconds_left: Callable[[], float | None],
        look: Callable[[], object],
        next_brief_look: Callable[[float], float],
    ) -> None:
        self._epoll = original(select, "epoll")()
        self._seconds_left = seconds_left
        self._look = look
        self._next_brief_look = next_brief_look
        self.take: Callable[[Any, float], bool] = _leave_to_the_loop
        """Serves the clients that wait on a listener, by the data with which it was registered, and the time.
        False: the accept loop is to do it, which looks at everything besides."""

        self._keys: dict[int, selectors.SelectorKey] = {}
        self._acts: dict[int, Act] = {}
        self._written: set[int] = set()
        """Those of which it is also watched whether they can be written to."""

        self._due: float | None = None
        """When to look; None: that is to be asked."""

    # For the supervisor

    def watch(self, descriptor: int, act: Act) -> None:
        """Have `act` called when a descriptor can be read."""
        self._acts[descriptor] = act
        self._epoll.register(descriptor, select.EPOLLIN)

    def look_now(self) -> None:
        """Have a look before the next wait."""
        self._due = None

    def watch_for_writing(self, descriptor: int, *, too: bool) -> None:
        """Have the act of a descriptor called also when it can be written to, or no longer."""
        if (descriptor in self._written) is too:
            return
        (self._written.add if too else self._written.discard)(descriptor)
        self._epoll.modify(descriptor, select.EPOLLIN | (select.EPOLLOUT if too else 0))

    def forget(self, descriptor: int) -> None:
        """Watch a descriptor no more; it is open still."""
        self._written.discard(descriptor)
        if self._acts.pop(descriptor, None) is not None:
            self._epoll.unregister(descriptor)

    # For the accept loop

    def register(self, fileobj: Any, events: int, data: Any = None) -> selectors.SelectorKey:
        """Wait for the descriptor of `fileobj` too."""
        descriptor = fileobj if isinstance(fileobj, int) else fileobj.fileno()
        if descriptor in self._keys:
            raise KeyError(f"{fileobj!r} is registered already")
        self._epoll.register(descriptor, select.EPOLLIN)
        key = self._keys[descriptor] = selectors.SelectorKey(fileobj, descriptor, events, data)
        return key

    def unregister(self, fileobj: Any) -> selectors.SelectorKey:
        """Wait for it no longer."""
        descriptor = fileobj if isinstance(fileobj, int) else fileobj.fileno()
        key = self._keys.pop(descriptor)
        # Where it was closed meanwhile, that has taken it out, and something else may have its number by now.
        if descriptor not in self._acts:
            with contextlib.suppress(OSError, ValueError):
                self._epoll.unregister(descriptor)
        return key

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        """Wait until a listener can be read, or there was a look, at most `timeout` seconds."""
        now = time.monotonic()
        until = math.inf if timeout is None else now + timeout
        while True:
            if self._due is None:
                left = self._seconds_left()
                self._due = math.inf if left is None else now + left
            brief = self._next_brief_look(now)
            # That may have found what is to be looked at in full.
            due = now if self._due is None else self._due
            wait = min(due, until, brief) - now
            ready = self._served(None if wait == math.inf else max(0.0, wait))
            now = time.monotonic()
            if self._due is None or self._due <= now:
                self._due = None
                self._look()
                return ready
            if ready or until <= now:
                return ready

    def _served(self, timeout: float | None) -> list[tuple[selectors.SelectorKey, int]]:
        """Wait once; do what is to be done about what is watched, and return what the accept loop has."""
        ready = []
        come = self._epoll.poll(timeout)
        now = time.monotonic()
        for descriptor, events in come:
            # It may have been forgotten for what came before.
            act = self._acts.get(descriptor)
            if act is not None:
                if not self._do(act, events):
                    self._due = None
                continue
            key = self._keys.get(descriptor)
            if key is None:
                continue
            if isinstance(key.data, WakeUp):
                # By another thread, which has asked for something, or a signal.
                self._due = None
            else:
                if self._due is not None and self._due > now + SETTLE_INTERVAL:
                    self._due = now + SETTLE_INTERVAL
                if self.take(key.data, now):
                    continue
            ready.append((key, selectors.EVENT_READ))
        return ready

    @staticmethod
    def _do(act: Act, events: int) -> bool | None:
        try:
            return act(events)
        except Exception as error:  # noqa: BLE001 - of one worker; the others go on
            print_uncaught(error)
            return None

    def close(self) -> None:
        """Leave the listeners to the next accept loop; what the supervisor watches stays."""
        for descriptor in list(self._keys):
            self.unregister(descriptor)

    def end(self) -> None:
        """Give the descriptor back."""
        self._epoll.close()

    def get_map(self) -> Mapping[Any, selectors.SelectorKey]:
        """Return what the accept loop waits for, by descriptor."""
        return self._keys


def _leave_to_the_loop(_data: Any, _now: float) -> bool:
    return False
