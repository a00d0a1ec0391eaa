"""Who sweeps the connections of a server, and when: a thread, or the accept loop where handlers are forked.

A process that forks had better have no second thread, so for forked handlers the accept loop looks, between
two waits. On all other engines a thread does: one that serves may be busy for long, on sequential servers
with the very client whose time is over. The thread lives while a connection has a deadline.
"""

import contextlib
import threading
import time
from collections.abc import Callable, Iterable
from typing import Any, Self

from manyhands.config.class_attributes import setting
from manyhands.connections.connection import Connection
from manyhands.connections.registry import Books
from manyhands.connections.timeouts import OwnDeadlines, private_store, shared_store
from manyhands.model.timeouts import NAMES, NONE, Deadlines, interval
from manyhands.runtime.fork_hooks import renew_in_copies
from manyhands.runtime.wakeup import WakeUp
from manyhands.serving.expiry import Sweep

ATTEND_AGAIN = 0.5
"""Seconds until an accept loop looks again whether its server has deadlines."""

PAUSE = 0.001
"""Seconds for which a long look lets others have their turn."""

LAST_LOOK = 1.0
"""Seconds that the end of a server waits for its sweep to end, which takes as long as one look."""


class Sweeper:
    """Has the connections of an engine room swept while any of them has a deadline. Thread-safe."""

    def __init__(self, books: Books) -> None:
        self._books = books
        self.is_on = False
        """Whether a server of the room has deadlines: then each new connection is to `call`."""

        self.wake_loop: Callable[[], object] = lambda: None
        """Wakes the accept loop, from a forked handler too."""

        self.begin_anew()
        renew_in_copies(self, Sweeper.begin_anew)

    def begin_anew(self) -> None:
        """Forget the thread: in a forked copy, which has not got it."""
        self._sweep = Sweep(self._books)
        self._usual: dict[int, Deadlines] = {}
        self._lock = threading.Lock()
        self._looking = threading.Lock()
        self._thread: threading.Thread | None = None
        self._wake = threading.Event()
        self.calls = 0
        """Changes whenever somebody calls."""

    def attend(self, servers: Iterable[Any], engine: str) -> float | None:
        """See whether servers have deadlines, and have their connections swept; here, on processes.

        Returns
        -------
        float or None
            Seconds after which the caller is to attend again, at the latest; None where that need not be.
        """
        self.is_on = any(usual_deadlines(server) is not NONE for server in servers)
        if engine == "processes":
            return self._attend_processes()
        if self.is_on:
            self._books.are_detailed = True
            self.call(engine)
        return None

    def _attend_processes(self) -> float | None:
        if self.is_on:
            # Else this process keeps nothing of a connection that it has handed over.
            self._books.are_detailed = True
        elif not any(map(_has_own, self._books.snapshot())):
            return None
        return self.look()

    def call(self, engine: str) -> None:
        """Have somebody look from now on: a connection has come, or another deadline."""
        self.calls += 1
        if engine == "processes":
            return
        with self._lock:
            if self._thread is None and self._books:
                thread = threading.Thread(target=self._run, name="manyhands-deadlines", daemon=True)
                # The next connection tries again.
                with contextlib.suppress(RuntimeError):
                    thread.start()
                    self._thread = thread

    def hurry(self, engine: str) -> None:
        """Have somebody look now."""
        self.call(engine)
        self._wake.set()

    def look(self, pause: Callable[[], object] = lambda: None) -> float | None:
        """Look at all connections once; return the seconds after which to look again, if that is to be."""
        if not self._looking.acquire(blocking=False):
            return interval(1.0)  # another accept loop of the server is at it
        try:
            known, self._usual = self._usual, {}
            wait = self._sweep.look(lambda connection: self._deadlines(connection, known), pause)
            if wait is None:
                return None
            shortest = [d.shortest for d in self._usual.values() if d.shortest is not None]
            return min([wait, *map(interval, shortest)])
        finally:
            self._looking.release()

    def _deadlines(self, connection: Connection, known: dict[int, Deadlines]) -> Deadlines:
        server = connection.server
        usual = self._usual.get(id(server))
        if usual is None:
            usual = usual_deadlines(server)
            before = known.get(id(server))
            # The same object tells the sweep that nothing has changed.
            usual = self._usual[id(server)] = before if before == usual else usual
        own: OwnDeadlines | None = connection.own_deadlines
        return usual if own is None else own.with_usual(usual)

    def _run(self) -> None:
        try:
            while self._goes_on():
                pass
        except BaseException:
            # An attribute of the program's own failed, say. The next connection begins anew.
            with self._lock:
                self._thread = None
            raise

    def _goes_on(self) -> bool:
        """Look once and wait for the next time, if there is to be one."""
        calls = self.calls
        self._wake.clear()
        wait = self.look(lambda: time.sleep(PAUSE))
        with self._lock:
            if wait is None and calls == self.calls:
                self._thread = None
                return False
        self._wake.wait(wait or 0.0)
        return True

    def rest(self) -> None:
        """Have the thread end now, unless there are connections left for it."""
        thread = self._thread
        if thread is not None and not self._books and thread is not threading.current_thread():
            self._wake.set()
            thread.join(LAST_LOOK)


class Attendance:
    """What whoever serves listeners does for their deadlines at each turn. An accept loop is in its context.

    Parameters
    ----------
    listeners
        Servers that share an engine room.
    waker
        Wakes the accept loop.
    """

    def __init__(self, listeners: Iterable[Any], waker: WakeUp | None = None) -> None:
        self._listeners = list(listeners)
        room = self._listeners[0]._engine_room
        self._sweeper: Sweeper = room.sweeper
        self._door = room.door
        self._waker = waker
        self._due = 0.0
        self._has_to_wake = False
        self._calls = 0
        self._was_woken = False

    def __enter__(self) -> Self:
        if self._waker is not None:
            self._sweeper.wake_loop = self._waker.wake_from_handler
        self._door.attendants.add(self)
        return self

    def __exit__(self, *exception: object) -> None:
        self._door.attendants.discard(self)
        if self._waker is not None:
            self._door.forget(self._waker.wake)

    def turn(self, timeout: float | None, engine: str) -> float | None:
        """Do what is due; return how long the loop may sleep, of the `timeout` that it would."""
        now = time.monotonic()
        if now >= self._due or (engine == "processes" and self._is_called()):
            self._calls, self._was_woken = self._sweeper.calls, False
            wait = self._sweeper.attend(self._listeners, engine)
            self._has_to_wake = wait is not None
            self._due = now + (ATTEND_AGAIN if wait is None else wait)
        if not self._has_to_wake:
            return timeout
        left = max(0.0, self._due - now)
        return left if timeout is None else min(timeout, left)

    def _is_called(self) -> bool:
        return self._was_woken or self._calls != self._sweeper.calls

    def note_wake(self) -> None:
        """Note that somebody has woken the loop: a forked handler that has set a deadline, perhaps."""
        self._was_woken = True


def usual_deadlines(server: Any) -> Deadlines:
    """Return the deadlines of a server, as its attributes say now; `NONE` itself where there are none."""
    deadlines = Deadlines(*(setting(name, server) for name in NAMES))
    return NONE if deadlines == NONE else deadlines


def own_deadlines(server: Any, engine: str) -> OwnDeadlines:
    """Return what a connection's handler may set its own deadlines in."""
    sweeper: Sweeper = server._engine_room.sweeper
    is_shared = engine == "processes"
    return OwnDeadlines(
        lambda: usual_deadlines(server),
        lambda: sweeper.wake_loop() if is_shared else sweeper.hurry(engine),
        shared_store() if is_shared else private_store(),
    )


def _has_own(connection: Connection) -> bool:
    own: OwnDeadlines | None = connection.own_deadlines
    return own is not None and own.are_any
