"""Keeping what is said before it is shown or sent; and telling the operator when it cannot be kept."""

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from typing import Self

from manyhands.desk.call_io import Ending
from manyhands.desk.screens import Screen, notice
from manyhands.desk.switchboard import Call
from manyhands.desk.transcript import Direction, NotKept, Transcript
from manyhands.runtime.locks import Condition
from manyhands.runtime.unpatched import brief_lock


class _Work:
    """A piece of work, and the wait for its commit."""

    __slots__ = ("carry_out", "failure", "is_done", "is_over")

    def __init__(self, carry_out: Callable[[], object], lock: threading.Lock) -> None:
        self.carry_out = carry_out
        # A condition for each: the end of a commit wakes those whose work was in it, and no others.
        self.is_done = Condition(lock)
        self.is_over = False
        self.failure: Exception | None = None


class CommitQueue:
    """Carries out work in a thread of its own, in the order in which it comes.

    A commit to a disk takes as long for one line as for a hundred. So all work that comes in during a commit
    is committed together in the next one. And a fiber must not wait for a disk.

    Parameters
    ----------
    together : callable
        Makes the context in which work is carried out: a transaction. What it raises, at its end for
        instance, is raised in every caller whose work was done in it.

    Notes
    -----
    Thread-safe, and fibers may wait in it.
    """

    def __init__(self, together: Callable[[], AbstractContextManager[object]]) -> None:
        self._together = together
        self._lock = brief_lock()
        self._has_work = Condition(self._lock)
        self._waiting: list[_Work] = []
        self._thread: threading.Thread | None = None
        self._is_closed = False

    def do(self, carry_out: Callable[[], object]) -> None:
        """Have work carried out, and wait until it is committed.

        Raises
        ------
        Exception
            What went wrong with the work, or with other work that was done together with it.
        """
        work = _Work(carry_out, self._lock)
        with self._lock:
            # Under the lock until the work is in the queue: `close` cannot end the thread in between.
            has_thread = self._has_thread()
            if has_thread:
                self._waiting.append(work)
                self._has_work.notify_all()
                work.is_done.wait_for(lambda: work.is_over)
        failure = work.failure if has_thread else self._carry_out([work])
        if failure is not None:
            raise failure

    def _has_thread(self) -> bool:
        """Tell whether the thread, started for the first work, carries it out; else the caller has to."""
        if self._thread is None and not self._is_closed:
            thread = threading.Thread(target=self._run, name="manyhands-commits", daemon=True)
            try:
                thread.start()
            except RuntimeError:
                # The system has no thread left. What is said is kept all the same, one by one.
                return False
            self._thread = thread
        return not self._is_closed

    def close(self) -> None:
        """Carry out what there is, and end the thread. Once more does no harm."""
        with self._lock:
            self._is_closed = True
            self._has_work.notify_all()
        # Without the lock, which the thread needs for what is left.
        if self._thread is not None:
            self._thread.join()

    def _run(self) -> None:
        while batch := self._next_batch():
            failure = self._carry_out(batch)
            with self._lock:
                for work in batch:
                    work.failure, work.is_over = failure, True
                    work.is_done.notify_all()

    def _next_batch(self) -> list[_Work]:
        with self._lock:
            self._has_work.wait_for(lambda: self._waiting or self._is_closed)
            batch, self._waiting = self._waiting, []
            return batch

    def _carry_out(self, batch: list[_Work]) -> Exception | None:
        try:
            with self._together():
                for work in batch:
                    work.carry_out()
        except Exception as failure:  # noqa: BLE001 - raised in every caller that waits for it
            return failure
        return None


class TranscriptWriter:
    """Writes the transcript of a desk that must go on when the transcript cannot be written.

    A full disk does not silence the desk: the operator is told at the first line that is not kept and,
    once writing works again, how many were not.

    Parameters
    ----------
    transcript : Transcript
        Where to keep.
    screen : Screen
        Where the operator is told.

    Notes
    -----
    Thread-safe, and fibers may wait in it. Each method has committed when it returns; what several callers
    say at the same time is committed together.
    """

    def __init__(self, transcript: Transcript, screen: Screen) -> None:
        self._transcript = transcript
        self._screen = screen
        self._lock = brief_lock()
        self._lost = 0
        self._commits = CommitQueue(self._transaction)
        # The queue's thread writes but, when there is none, each caller itself: one at a time.
        self._writing = threading.Lock()
        self._opened: list[Call] = []
        """The calls whose beginning is being kept: nothing of it counts before it is committed."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        """Keep what is under way, and nothing any more."""
        self._commits.close()

    def call_opened(self, call: Call) -> None:
        """Keep that a call has begun."""
        self._keep(lambda: self._open(call))

    def call_named(self, call: Call) -> None:
        """Keep a caller's name."""
        self._keep(lambda: self._transcript.name_call(self._open(call), call.name or ""))

    def call_ended(self, call: Call, ending: Ending) -> None:
        """Keep that a call is over, and why."""
        self._keep(lambda: self._transcript.end_call(self._open(call), ending))

    def said(self, direction: Direction, said: Sequence[tuple[Call, str]]) -> None:
        """Keep messages, each with its call, all of them or none."""
        if said:
            self._keep(
                lambda: self._transcript.keep(direction, [(self._open(c), t) for c, t in said]),
                lines=len(said),
            )

    def desk_closed(self) -> None:
        """Keep that the desk closes; tell the operator what has not been kept until then."""
        self._keep(self._transcript.close_session)
        if self._lost:
            self._tell(f"lines that were not kept: {self._lost - 1}")

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        with self._writing:
            self._opened = []
            try:
                with self._transcript.together():
                    yield
            except BaseException:
                # Their rows were rolled back: each call is opened again with what is kept of it next.
                for call in self._opened:
                    call.row = None
                raise

    def _open(self, call: Call) -> int:
        """Return the row of a call, which is written now unless it has been. Within a transaction."""
        if call.row is None:
            call.row = self._transcript.open_call(call.number, call.peer)
            self._opened.append(call)
        return call.row

    def _keep(self, write: Callable[[], object], lines: int = 0) -> None:
        try:
            self._commits.do(write)
        except NotKept as why:
            self._count_as_lost(lines, why)
        else:
            # A look without the lock: most of the time nothing was lost.
            if self._lost:
                self._tell_of_lost()

    def _count_as_lost(self, lines: int, why: NotKept) -> None:
        with self._lock:
            is_first = not self._lost
            # One for the failure itself: a call's beginning or end is no line, and still a loss.
            self._lost += lines + is_first
        if is_first:
            self._tell(f"the transcript cannot be written ({why}): what is said is not kept")

    def _tell_of_lost(self) -> None:
        with self._lock:
            lost, self._lost = self._lost, 0
        if lost:
            self._tell(f"the transcript is written again; lines that were not kept: {lost - 1}")

    def _tell(self, text: str) -> None:
        self._screen.show([notice(text)])
