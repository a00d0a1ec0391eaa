"""Keeping what is said before it is shown or sent; and telling the operator when it cannot be kept."""

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, suppress
from functools import partial
from typing import NamedTuple, Self

from manyhands.desk.call_io import Ending
from manyhands.desk.screens import Screen, notice
from manyhands.desk.switchboard import Call
from manyhands.desk.transcript import Damaged, Direction, NotKept, Refused, Transcript, as_text, now
from manyhands.desk.transcript_file import BUSY_TIMEOUT
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
    patience : callable, optional
        Returns the seconds without work after which that context is made for its own sake; None: never.

    Notes
    -----
    Thread-safe, and fibers may wait in it.
    """

    def __init__(
        self,
        together: Callable[[], AbstractContextManager[object]],
        patience: Callable[[], float | None] = lambda: None,
    ) -> None:
        self._together = together
        self._patience = patience
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
        while (batch := self._next_batch()) is not None:
            failure = self._carry_out(batch)
            with self._lock:
                for work in batch:
                    work.failure, work.is_over = failure, True
                    work.is_done.notify_all()

    def _next_batch(self) -> list[_Work] | None:
        """Wait for work, and take all of it; none when that takes long, and None when there will be none."""
        with self._lock:
            self._has_work.wait_for(lambda: self._waiting or self._is_closed, self._patience())
            batch, self._waiting = self._waiting, []
            return batch if batch or not self._is_closed else None

    def _carry_out(self, batch: list[_Work]) -> Exception | None:
        try:
            with self._together():
                for work in batch:
                    work.carry_out()
        except Exception as failure:  # noqa: BLE001 - raised in every caller that waits for it
            return failure
        return None


class _Piece(NamedTuple):
    """Something to be kept."""

    write: Callable[[], object]
    lines: int = 0
    size: int = 100


MOST_WAITING = 16 * 2**20
"""Bytes of text, roughly, that wait for a transcript that cannot be written: some 100,000 lines."""

_RETRY = 1.0
"""Seconds between two attempts to write a transcript that cannot be written."""

_GLANCE = 0.05
"""Seconds that such an attempt waits for another program's lock."""

_LOOK = 30.0
"""Seconds without work after which the thread looks at the file, and at what is too old in it."""


class TranscriptWriter:
    """Writes the transcript of a desk that must go on when the transcript cannot be written.

    A full disk does not silence the desk, and neither does another program that holds the file's lock: what
    is said is shown and waits, in its order, until it can be written. The operator is told of it, and of
    what was more than may wait.

    Parameters
    ----------
    transcript : Transcript
        Where to keep.
    screen : Screen
        Where the operator is told.
    most_waiting : int
        Bytes of text that may wait.

    Notes
    -----
    Thread-safe, and fibers may wait in it. Each method has committed when it returns, unless the transcript
    cannot be written just now; what several callers say at the same time is committed together.
    """

    def __init__(
        self, transcript: Transcript, screen: Screen, most_waiting: int = MOST_WAITING
    ) -> None:
        self._transcript = transcript
        self._screen = screen
        self._commits = CommitQueue(self._transaction, self._patience)
        # The queue's thread writes but, when there is none, each caller itself: one at a time.
        self._writing = threading.Lock()
        self._waiting: list[_Piece] = []
        self._most_waiting = most_waiting
        self._size = 0
        self._lost = 0
        self._is_too_much = False
        self._cannot_write = False
        self._next_try = 0.0
        self._opened: list[Call] = []
        """The calls whose beginning is being kept: nothing of it counts before it is committed."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        """Keep what is under way, and nothing any more."""
        self._commits.close()

    def call_opened(self, call: Call) -> None:
        """Keep that a call has begun."""
        self._keep(_Piece(lambda: self._open(call)))

    def call_named(self, call: Call) -> None:
        """Keep a caller's name."""
        name = call.name or ""
        self._keep(_Piece(lambda: self._transcript.name_call(self._open(call), name)))

    def call_ended(self, call: Call, ending: Ending) -> None:
        """Keep that a call is over, and why."""
        at = now()
        self._keep(_Piece(lambda: self._transcript.end_call(self._open(call), ending, at)))

    def said(self, direction: Direction, said: Sequence[tuple[Call, str]]) -> None:
        """Keep messages, each with its call, all of them or none."""
        if not said:
            return
        at = now()

        def write() -> None:
            self._transcript.keep(direction, [(self._open(c), t) for c, t in said], at)

        self._keep(_Piece(write, len(said), sum(100 + len(text) for _, text in said)))

    def desk_closed(self) -> None:
        """Keep that the desk closes; tell the operator what has not been kept until then."""
        self._next_try = 0.0
        self._transcript.wait_for_others(BUSY_TIMEOUT)
        self._keep(_Piece(self._transcript.close_session))
        if self._cannot_write:
            lost = self._lost + sum(piece.lines for piece in self._waiting)
            self._screen.tell([notice(f"lines that were not kept: {lost}")])

    def _keep(self, piece: _Piece) -> None:
        self._commits.do(partial(self._add, piece))

    def _add(self, piece: _Piece) -> None:
        """Have a piece wait for the end of the transaction, unless too much waits."""
        if self._cannot_write and self._size + piece.size > self._most_waiting:
            if not self._is_too_much:
                self._is_too_much = True
                self._tell("too much waits for the transcript: what is said is not kept")
            self._lost += piece.lines
            return
        self._waiting.append(piece)
        self._size += piece.size

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        """Write what comes in within the context, after what could not be written before."""
        with self._writing:
            yield
            if not self._cannot_write or time.monotonic() >= self._next_try:
                self._write()

    def _patience(self) -> float:
        """Return the seconds after which `_transaction` is due though there is no work."""
        return _RETRY if self._cannot_write else _LOOK

    def _write(self) -> None:
        try:
            self._follow_the_file()
            self._write_waiting()
        except Damaged as why:
            self._put_aside(why)
        except NotKept as why:
            self._note_failure(why)
        else:
            self._note_success()
            self._tidy()

    def _tidy(self) -> None:
        # All is kept; what is too much or too old is removed at the next look, if it cannot be now.
        with suppress(NotKept):
            if self._transcript.tidy():
                self._tell(
                    "the transcript has reached its size: the oldest calls are removed from it"
                )

    def _follow_the_file(self) -> None:
        if self._transcript.has_moved():
            self._transcript.open_anew()
            self._tell(
                "the transcript was moved or removed: what is said from now on is in a new file of its name"
            )

    def _write_waiting(self) -> None:
        try:
            self._write_together(self._waiting)
        except Refused:
            for piece in self._waiting:
                self._write_alone(piece)
        self._waiting = []
        self._size = 0

    def _write_alone(self, piece: _Piece) -> None:
        try:
            self._write_together([piece])
        except Refused as why:
            # It would be refused again, and with it all that comes later.
            self._tell(f"the transcript does not take what was said ({why}): it is not kept")

    def _write_together(self, pieces: Sequence[_Piece]) -> None:
        self._opened = []
        try:
            with self._transcript.together():
                for piece in pieces:
                    piece.write()
        except BaseException:
            # Their rows were rolled back: each call is opened again with what is kept of it next.
            for call in self._opened:
                call.row = None
            raise

    def _put_aside(self, why: Damaged) -> None:
        try:
            aside = self._transcript.put_aside()
        except NotKept as failure:
            self._note_failure(failure)
            return
        self._tell(f"the transcript is damaged ({why}): it is {aside} now, and a new one is begun")
        self._cannot_write, self._next_try = True, 0.0

    def _note_failure(self, why: NotKept) -> None:
        self._next_try = time.monotonic() + _RETRY
        if not self._cannot_write:
            self._cannot_write = True
            # Nothing that is said from now on waits for the file.
            self._transcript.wait_for_others(_GLANCE)
            self._tell(
                f"the transcript cannot be written ({why}): what is said is kept when it can be"
            )

    def _note_success(self) -> None:
        if self._cannot_write:
            self._cannot_write = self._is_too_much = False
            self._transcript.wait_for_others(BUSY_TIMEOUT)
            lost, self._lost = self._lost, 0
            self._tell(f"the transcript is written again; lines that were not kept: {lost}")

    def _open(self, call: Call) -> int:
        """Return the row of a call, which is written now unless it is in the file. Within a transaction."""
        if call.row is None or call.file != self._transcript.file:
            at = as_text(call.opened_at)
            call.row = self._transcript.open_call(call.number, call.peer, at, call.name)
            call.file = self._transcript.file
            self._opened.append(call)
        return call.row

    def _tell(self, text: str) -> None:
        self._screen.tell([notice(text)])
