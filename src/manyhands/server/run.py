"""One run of a `manyhands.Server`: what was asked of it, and what came of it."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from manyhands.runtime.wakeup import WakeUp
from manyhands.serving.drain import CutOff


class Run:
    """What a server knows of one run. The next one begins anew, whoever is left behind by this one.

    Thread-safe. What is asked for is kept in plain flags, and may be asked for in signal handlers: they must
    not wait for a lock that the interrupted code may hold.
    """

    def __init__(self) -> None:
        self.is_stopping = False
        """Whether the server has been asked to stop."""

        self.is_in_a_hurry = False
        """Whether the drain is to be cut short."""

        self.is_draining = False
        """Whether the drain has begun; for ever, since who was left behind by it may ask later still."""

        self.is_suspended = False
        """Whether nobody is accepted for now."""

        self.seconds_to_drain: float | None = None
        """What the conversations get, where a `drain` has said so; None: as the server's option has it."""

        self.runner: int | None = None
        """The thread that is in `Server.run`, if one is."""

        self.thread: threading.Thread | None = None
        """The server's own thread, which runs the accept loop, if there is one."""

        self.failure: BaseException | None = None
        """What ended the accept loop, if that was no `stop`."""

        self.cut_off: list[CutOff] = []
        """The conversations that were cut off, at the end."""

        self._wakers: set[WakeUp] = set()
        self._has_ended = threading.Event()

    @property
    def is_under_way(self) -> bool:
        """Whether somebody serves, or is about to."""
        return self.thread is not None or self.runner is not None

    def stop(self) -> None:
        """Ask for the end; return at once."""
        self.is_stopping = True
        for waker in self._wakers.copy():
            waker.ask_to_stop()

    def wake(self) -> None:
        """Have whoever serves look around."""
        for waker in self._wakers.copy():
            waker.wake()

    @contextmanager
    def waker(self) -> Iterator[WakeUp]:
        """Return what wakes the caller when the run is to stop, and when there is something to look at."""
        with WakeUp() as waker:
            self._wakers.add(waker)
            try:
                yield waker
            finally:
                self._wakers.discard(waker)

    def claim_the_end(self, claim: object) -> None:
        """Ask to be the one who brings the run to its end: the first is."""
        # In one step: a signal handler may ask in the middle of it.
        vars(self).setdefault("_finisher", (threading.get_ident(), claim))

    def is_ended_by(self, claim: object) -> bool:
        """Tell whether it was this claim that came first."""
        return self._claimed_by()[1] is claim

    def is_being_ended(self) -> bool:
        """Tell whether somebody has begun to bring the run to its end."""
        return self._claimed_by()[0] is not None

    def _claimed_by(self) -> tuple[int | None, object]:
        finisher: tuple[int | None, object] = vars(self).get("_finisher", (None, None))
        return finisher

    def note_end(self) -> None:
        """Let those go on who wait for the end."""
        self._has_ended.set()

    def outcome(self) -> list[CutOff]:
        """Wait for the end; return who was cut off.

        The thread that brings the end about, in a signal handler perhaps, does not wait for itself.

        Raises
        ------
        Exception
            Whatever ended the accept loop.
        """
        if self._claimed_by()[0] == threading.get_ident() and not self._has_ended.is_set():
            return self.cut_off
        self._has_ended.wait()
        if self.failure is not None:
            raise self.failure
        return self.cut_off
