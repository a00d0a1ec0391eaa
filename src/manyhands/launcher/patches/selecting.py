"""`epoll`, which gevent takes away, `poll` and `select` of all descriptors, and the frames of fibers."""

import contextlib
import gc
import select
import selectors
import sys
import time
from types import FrameType
from typing import Any, Self

import gevent
from gevent.monkey import api
from gevent.socket import wait_read
from greenlet import greenlet

from manyhands.launcher.patches.waiting import is_fiber
from manyhands.runtime.thread_frames import current_frames
from manyhands.runtime.unpatched import original, put_in_place


class Epoll:
    """`select.epoll`, whose `poll` lets other fibers run: an epoll descriptor can be waited for itself."""

    _system: Any = original(select, "epoll")

    def __init__(self, sizehint: int = -1, flags: int = 0) -> None:
        self._epoll = self._system(sizehint, flags)

    @classmethod
    def fromfd(cls, fd: int, /) -> Self:
        """Make one of a descriptor."""
        made = cls.__new__(cls)
        made._epoll = cls._system.fromfd(fd)
        return made

    def __getattr__(self, name: str) -> Any:
        return getattr(self._epoll, name)

    def __enter__(self) -> Self:
        self._epoll.__enter__()
        return self

    def __exit__(self, *exception: object) -> None:
        self._epoll.__exit__(*exception)

    def poll(self, timeout: float | None = None, maxevents: int = -1) -> list[tuple[int, int]]:
        """Wait for events, at most `timeout` seconds; return the descriptors and their events."""
        if not is_fiber():
            ready: list[tuple[int, int]] = self._epoll.poll(timeout, maxevents)
            return ready
        deadline = None if timeout is None or timeout < 0 else time.monotonic() + timeout
        while True:
            ready = self._epoll.poll(0, maxevents)
            left = None if deadline is None else deadline - time.monotonic()
            if ready or (left is not None and left <= 0):
                gevent.sleep(0)  # a loop that never waits lets others run too
                return ready
            try:
                wait_read(self._epoll.fileno(), left, TimeoutError())
            except TimeoutError:
                return []


EVERYTHING = select.POLLIN | select.POLLPRI | select.POLLOUT


class Poll:
    """`select.poll`, whose `poll` lets other fibers run, and tells all that the kernel tells.

    gevent's knows neither POLLHUP nor POLLERR nor POLLNVAL, and waits for ever for what is closed.
    """

    def __init__(self) -> None:
        self._poll = original(select, "poll")()
        self._masks: dict[int, int] = {}

    def register(self, fd: Any, eventmask: int = EVERYTHING, /) -> None:
        """Look at a descriptor too, or for other events."""
        self._poll.register(fd, eventmask)
        self._masks[_descriptor(fd)] = eventmask

    def modify(self, fd: Any, eventmask: int, /) -> None:
        """Look for other events of a descriptor."""
        self._poll.modify(fd, eventmask)
        self._masks[_descriptor(fd)] = eventmask

    def unregister(self, fd: Any, /) -> None:
        """Look at a descriptor no longer."""
        self._poll.unregister(fd)
        del self._masks[_descriptor(fd)]

    def poll(self, timeout: float | None = None, /) -> list[tuple[int, int]]:
        """Wait for events, at most `timeout` milliseconds; return the descriptors and their events."""
        if not is_fiber():
            found: list[tuple[int, int]] = self._poll.poll(timeout)
            return found
        seconds = None if timeout is None or timeout < 0 else timeout / 1000
        found = self._poll.poll(0)
        if found or seconds == 0:
            gevent.sleep(0)  # as `Epoll.poll`
            return found
        return self._wait(None if seconds is None else time.monotonic() + seconds)

    def _wait(self, deadline: float | None) -> list[tuple[int, int]]:
        # Descriptors come and go between two calls, so it is made for each that waits.
        with Epoll() as epoll:
            for descriptor, mask in self._masks.items():
                # What epoll does not take, a file for one, is ready at once or never (epoll_ctl(2)).
                with contextlib.suppress(PermissionError):
                    epoll.register(descriptor, mask)
            found: list[tuple[int, int]] = self._poll.poll(0)
            while not found:
                left = None if deadline is None else deadline - time.monotonic()
                if left is not None and left <= 0:
                    break
                epoll.poll(left, 1)
                found = self._poll.poll(0)
        return found


_by_gevent: Any = select.select


def _select(rlist: Any, wlist: Any, xlist: Any, timeout: Any = None, /) -> Any:
    # They may be iterators, and are read a second time below.
    wanted = [
        each if isinstance(each, list | tuple) else list(each) for each in (rlist, wlist, xlist)
    ]
    try:
        return _by_gevent(*wanted, timeout)
    except ValueError:
        if max((_descriptor(one) for each in wanted for one in each), default=0) < FD_SETSIZE:
            raise
    return _select_by_poll(wanted, timeout)


FD_SETSIZE = 1024
"""The first descriptor that does not fit into the sets of select(2); poll(2) has no such limit."""

_GONE = select.POLLERR | select.POLLHUP

_ASKED_AND_TOLD = (
    (select.POLLIN, select.POLLIN | _GONE),
    (select.POLLOUT, select.POLLOUT | _GONE),
    (select.POLLPRI, select.POLLPRI),
)
"""For each of the three lists, what `poll` is asked, and which of its answers count."""


def _descriptor(fileobj: Any) -> int:
    return fileobj if isinstance(fileobj, int) else int(fileobj.fileno())


def _select_by_poll(wanted: list[Any], timeout: float | None) -> tuple[list[Any], ...]:
    events: dict[int, int] = {}
    for fileobjs, (asked, _) in zip(wanted, _ASKED_AND_TOLD, strict=True):
        for each in fileobjs:
            events[_descriptor(each)] = events.get(_descriptor(each), 0) | asked
    poll = select.poll()
    for descriptor, mask in events.items():
        poll.register(descriptor, mask)
    found = dict(poll.poll(None if timeout is None else timeout * 1000))
    return tuple(
        [each for each in fileobjs if found.get(_descriptor(each), 0) & told]
        for fileobjs, (_, told) in zip(wanted, _ASKED_AND_TOLD, strict=True)
    )


_of_threads = sys._current_frames


def _frames() -> dict[int, FrameType]:
    """Return the frame on top of each thread, and of each fiber, by its `threading.get_ident`."""
    frames = current_frames(_of_threads)
    # gevent keeps no list of its fibers, so they are looked for among all objects.
    for each in gc.get_objects():
        if isinstance(each, greenlet) and each.gr_frame is not None:
            frames[id(each)] = each.gr_frame
    # The one that runs has none.
    frames[id(gevent.getcurrent())] = sys._getframe(1)
    return frames


def patch_selecting() -> None:
    """Have programs wait with `epoll`, `poll` and `select` for any descriptor, and find fibers' frames."""
    select.epoll = Epoll  # type: ignore[misc, assignment]
    selector: Any = type(
        "EpollSelector", (_epoll_selector,), {"__module__": "selectors", "_selector_cls": Epoll}
    )
    selectors.EpollSelector = selector  # type: ignore[misc]
    select.poll = Poll  # type: ignore[misc, assignment]
    selectors.PollSelector._selector_cls = Poll  # type: ignore[attr-defined]
    put_in_place(select, "select", _select)
    # This one can be asked for as it was (`monkey.get_original`): ours is slow.
    api.patch_item(sys, "_current_frames", _frames)


_epoll_selector: Any = original(selectors, "EpollSelector")
