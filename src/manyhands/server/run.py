"""One run of a `manyhands.Server`: from the start of its accept loop to the end of its drain.

The next run begins anew, whatever handlers this one leaves behind.
"""

import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from functools import partial
from typing import Protocol

from manyhands.engines import Engine
from manyhands.model.connection_states import Reason
from manyhands.runtime.locks import Latch
from manyhands.runtime.wakeup import WakeUp
from manyhands.server.listener_group import ListenerGroup
from manyhands.serving.accept_loop import AcceptLoop
from manyhands.serving.drain import (
    BACKLOG_SHARE,
    DRAIN_INTERVAL,
    CutOff,
    drain,
    end_at_once,
    give_notice,
    serve_backlog,
)

LAST_TURN = 0.5
"""Seconds that the accept loop gets to end, however little time there is: it takes milliseconds, unless a
hook holds it up."""


class Sockets(Protocol):
    """What a run serves."""

    @property
    def engine(self) -> Engine:
        """The engine that all listeners share."""

    @property
    def group(self) -> ListenerGroup:
        """The listeners, and the core that they share."""

    @property
    def drain_timeout(self) -> float:
        """Seconds that connections get to come to their end."""

    @property
    def poll_interval(self) -> float:
        """Seconds between two turns of the accept loop when nothing happens."""

    @property
    def chores(self) -> list[Callable[[], object]]:
        """What the accept loop does after each of its turns."""

    @property
    def drain_chores(self) -> list[Callable[[], object]]:
        """What is done after each turn of a drain."""

    def elsewhere_cut_off(self) -> list[CutOff]:
        """Return the connections that were cut off in other processes."""

    def begin_next_run(self) -> None:
        """Have the next run in the place of this one, which has ended."""


class Run:
    """What was asked of a run, and what came of it.

    Thread-safe. What is asked for is kept in plain flags, and may be asked for in signal handlers: they must
    not wait for a lock that the interrupted code may hold.
    """

    def __init__(self, sockets: Sockets) -> None:
        self._sockets = sockets
        self.is_stopping = False
        """Whether the server has been asked to stop."""

        self.is_in_a_hurry = False
        """Whether the drain is to be cut short."""

        self.is_draining = False
        """Whether the drain has begun; for ever, since a handler that it left behind may ask later still."""

        self._seconds_to_drain: float | None = None
        """What connections get, where a `drain` has said so; None: as the server's option has it."""

        self._drains_since: float | None = None
        """When the drain began, by `time.monotonic`."""

        self.runner: int | None = None
        """The thread that is in `Server.run`, if one is."""

        self.thread: threading.Thread | None = None
        """The server's own thread, which runs the accept loop, if there is one."""

        self.failure: BaseException | None = None
        """What ended the accept loop, if that was no `stop`."""

        self.cut_off: list[CutOff] = []
        """The connections that were cut off, at the end."""

        self._wakeups: set[WakeUp] = set()
        self._has_ended = Latch()

    @property
    def time_to_drain(self) -> float:
        """Seconds that connections get to come to their end: none in a hurry."""
        return 0.0 if self.is_in_a_hurry else self._time_without_hurry()

    def _time_without_hurry(self) -> float:
        own = self._seconds_to_drain
        return self._sockets.drain_timeout if own is None else own

    def drain_in(self, seconds: float) -> None:
        """Have connections get so many seconds from now on, or what is left to them, if that is less."""
        since = self._drains_since
        asked = seconds if since is None else time.monotonic() - since + seconds
        self._seconds_to_drain = (
            min(asked, self._time_without_hurry()) if self.is_stopping else asked
        )

    @property
    def is_under_way(self) -> bool:
        """Whether a thread serves, or is about to."""
        return self.thread is not None or self.runner is not None

    def stop(self) -> None:
        """Ask for the end; return at once."""
        self.is_stopping = True
        for wakeup in self._wakeups.copy():
            wakeup.ask_to_stop()

    def wake(self) -> None:
        """Have the threads of the run look around."""
        for wakeup in self._wakeups.copy():
            wakeup.wake()

    @contextmanager
    def wakeup(self) -> Iterator[WakeUp]:
        """Return what wakes the caller when the run is to stop, and when there is something to look at."""
        with WakeUp() as wakeup:
            self._wakeups.add(wakeup)
            try:
                yield wakeup
            finally:
                self._wakeups.discard(wakeup)

    # The accept loop

    def start_thread(self) -> None:
        """Serve in a thread of the server's own.

        Raises
        ------
        RuntimeError
            When the system has none.
        """
        # A daemon: a sequential server may be in the middle of a connection that does not end.
        thread = threading.Thread(target=self.serve, name="manyhands-accept", daemon=True)
        thread.start()
        self.thread = thread

    def serve(self, wakeup: WakeUp | None = None) -> None:
        """Run the accept loop to its end, which is that of the run; what ended it is kept.

        `wakeup` is what signals wake, where this is the thread that they come to: none is then left to the
        end of a poll which it came just before.
        """
        sockets = self._sockets
        try:
            with self.wakeup() if wakeup is None else nullcontext(wakeup) as waking:
                is_stopping = partial(getattr, self, "is_stopping")
                every = [*sockets.group.listeners, *sockets.group.spares]
                # The program before has left some closed, perhaps (`server.takeover.LeftClosed`).
                listeners = [each for each in every if each.fileno() >= 0]
                loop = AcceptLoop(listeners, is_stopping, sockets.chores)
                sockets.engine.run(partial(loop.run, waking, sockets.poll_interval), loop.stop)
        except BaseException as failure:  # noqa: BLE001 - `outcome` raises it for the caller of `run`
            self.failure = failure
        finally:
            # Without listeners, or on a forked handler's word, the loop ends by itself.
            self.stop()

    # The end

    def _claim_the_end(self, claim: object) -> None:
        """Ask to be the caller that brings the run to its end: the first one is."""
        # In one step: a signal handler may ask in the middle of it.
        vars(self).setdefault("_claimed", (threading.get_ident(), claim))

    def _finisher(self) -> tuple[int | None, object]:
        finisher: tuple[int | None, object] = vars(self).get("_claimed", (None, None))
        return finisher

    def is_being_ended(self) -> bool:
        """Tell whether a thread has begun to bring the run to its end."""
        return self._finisher()[0] is not None

    def outcome(self) -> list[CutOff]:
        """Wait for the end; return the connections that were cut off.

        The thread that brings the end about, in a signal handler perhaps, does not wait for itself.

        Raises
        ------
        Exception
            Whatever ended the accept loop.
        """
        if self._finisher()[0] == threading.get_ident() and not self._has_ended.is_set():
            return self.cut_off
        self._has_ended.wait()
        if self.failure is not None:
            raise self.failure
        return self.cut_off

    def finish(self) -> list[CutOff]:
        """Bring the run to its end, unless another thread does; return the connections that were cut off."""
        claim = object()
        try:
            self._claim_the_end(claim)
            if self._finisher()[1] is claim:
                self.stop()
                self.is_draining = True
                give_notice(self._sockets.group.core)
                self._drain()
        except BaseException:
            # A second Ctrl-C where no handler of ours is installed, for one: nothing is waited for any
            # longer.
            if self._finisher()[1] is claim:
                self.cut_off = end_at_once(self._sockets.group.core)
            raise
        finally:
            if self._finisher()[1] is claim:
                self._leave_all_as_new()
        return self.outcome()

    def _leave_all_as_new(self) -> None:
        group = self._sockets.group
        try:
            group.close()
        finally:
            group.core.registry.is_draining = False
            self._sockets.begin_next_run()
            self._has_ended.set()

    def _drain(self) -> None:
        """Stop listening, so that no client calls in vain; then wait for the connections."""
        sockets, began = self._sockets, time.monotonic()
        self._drains_since = began
        if sockets.engine.name != "sequential":  # which serves in the loop, and ends with it
            self._leave_the_loop(began)
        sockets.group.refuse_backlogs()
        sockets.group.close(socket.SOCK_STREAM)
        core, timeout = sockets.group.core, self._time_without_hurry
        cut_off = drain(core, timeout, self._hurries, self._join, began)
        self.cut_off = [*cut_off, *sockets.elsewhere_cut_off()]
        if self.thread is not None and self.thread.is_alive():
            # End what the accept loop has in hand, which a hook holds up: its handler will not begin.
            for connection in sockets.group.core.registry.snapshot():
                connection.close(Reason.CUT_OFF)

    def _leave_the_loop(self, began: float) -> None:
        """Take the engine over from the accept loop: it belongs to one thread at a time. Serve the backlog.

        Give up on a loop that is held up when the time is over, or in a hurry, but not before its last turn.
        """
        thread, earliest = self.thread, began + LAST_TURN
        while thread is not None and thread.is_alive():
            now = time.monotonic()
            if now >= earliest and now >= began + self.time_to_drain:
                return
            thread.join(DRAIN_INTERVAL)
        try:
            if self.failure is None:
                until = began + self._time_without_hurry() * BACKLOG_SHARE
                for listener in self._sockets.group.listeners:
                    serve_backlog(listener, self._sockets.engine, lambda: self.is_in_a_hurry, until)
        except Exception as failure:  # noqa: BLE001 - what `handle_error` raises ends the service
            self.failure = failure

    def _join(self, timeout: float) -> bool:
        engine = self._sockets.engine
        if self.thread is None or engine.name != "sequential":
            return engine.join(timeout)
        self.thread.join(timeout)
        return not self.thread.is_alive()

    def _hurries(self) -> bool:
        for chore in tuple(self._sockets.drain_chores):
            chore()
        return self.is_in_a_hurry


Announce = Callable[[], object]
"""Tells that every address is bound, and that a signal ends the server gracefully from now on."""
