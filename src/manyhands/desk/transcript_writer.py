"""Keeping what is said before it is shown or sent; and telling the operator when it cannot be kept."""

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import partial
from typing import NamedTuple, Self

from manyhands.desk.call_io import Ending
from manyhands.desk.commit_queue import MOST_WAITING, CommitQueue
from manyhands.desk.screens import Screen, notice
from manyhands.desk.switchboard import Call
from manyhands.desk.transcript import (
    Damaged,
    Direction,
    NotKept,
    Refused,
    TablesChanged,
    Transcript,
    as_text,
    now,
)
from manyhands.desk.transcript_file import BUSY_TIMEOUT, Found


class Piece(NamedTuple):
    """Something to be kept: see `TranscriptWriter.keep`."""

    write: Callable[[], object]
    lines: int = 0
    size: int = 100


_RETRY = 1.0
"""Seconds between two attempts to write a transcript that cannot be written."""

_BETWEEN_FILES = 60.0
"""Seconds at least between two files that are begun because the one before was damaged."""

_LONG_LOG = 64 * 2**20
"""Bytes of a write-ahead log that has not been emptied for long."""

_REPAIR = 10.0
"""Seconds that another program gets to bring a table back; a copy of the tables takes some."""

_GLANCE = 0.05
"""Seconds that such an attempt waits for another program's lock."""

_LOOK = 30.0
"""Seconds without work after which the thread looks at the file, and at what is too old in it."""


class TranscriptWriter:
    """Writes the transcript of a desk that must go on when the transcript cannot be written.

    A full disk does not silence the desk, and neither does one that hangs, or another program that holds the
    file's lock: what is said is shown and waits, in its order, until it can be written. The operator is told
    of it, and of what was more than may wait.

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
    Thread-safe, and fibers may wait in it. What keeps has committed when it returns, unless the transcript
    cannot be written just now; what several callers say at the same time is committed together.
    """

    def __init__(
        self, transcript: Transcript, screen: Screen, most_waiting: int = MOST_WAITING
    ) -> None:
        self._transcript = transcript
        self._screen = screen
        self._commits = CommitQueue(
            self._transaction, self._patience, self._note_stuck, most_waiting
        )
        # The queue's thread writes but, when there is none, each caller itself: one at a time.
        self._writing = threading.Lock()
        self._waiting: list[Piece] = []
        self._most_waiting = most_waiting
        self._size = 0
        self._lost = 0
        self._is_too_much = False
        self._refused_why = ""
        self._log_to_tell = _LONG_LOG
        self._cannot_write = False
        self._next_try = self._next_file = self._failing_since = 0.0
        self._is_last = False
        """Whether the desk closes: a last try is made, with all patience."""

        self._opened: list[Call] = []
        """The calls whose beginning is being kept: nothing of it counts before it is committed."""

        self._found: set[Call] = set()
        """The calls that have been found in the file since this commit began."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        """Keep what is under way, and nothing any more."""
        self._commits.close()

    def keep(self, *pieces: Piece) -> None:
        """Keep pieces, in their order and with one commit; not one by one."""
        if pieces:
            size, lines = sum(each.size for each in pieces), sum(each.lines for each in pieces)
            if not self._commits.do(partial(self._add, pieces), size, lines):
                self._note_too_much()

    # What can be kept

    def opening(self, call: Call) -> Piece:
        """Return the piece that says that a call has begun."""
        return Piece(lambda: self._open(call))

    def naming(self, call: Call) -> Piece:
        """Return the piece that says what a caller is called now."""
        name = call.name or ""
        return Piece(lambda: self._transcript.name_call(self._open(call), name))

    def end(self, call: Call, ending: Ending) -> Piece:
        """Return the piece that says that a call is over, and why."""
        at = now()
        return Piece(lambda: self._transcript.end_call(self._open(call), ending, at))

    def messages(self, direction: Direction, said: Sequence[tuple[Call, str]]) -> Piece:
        """Return the piece that has messages, each with its call: all of them are kept, or none."""
        at = now()

        def write() -> None:
            self._transcript.keep(direction, [(self._open(c), t) for c, t in said], at)

        return Piece(write, len(said), sum(100 + len(text) for _, text in said))

    def said(self, direction: Direction, said: Sequence[tuple[Call, str]]) -> None:
        """Keep messages, each with its call, all of them or none."""
        if said:
            self.keep(self.messages(direction, said))

    def desk_closed(self) -> None:
        """Keep that the desk closes; tell the operator what has not been kept until then."""
        self._is_last = True
        self.keep(Piece(self._transcript.close_session))
        if self._cannot_write or self._lost:
            waiting = sum(piece.lines for piece in self._waiting) + self._commits.lines_waiting
            lost = self._lost + self._commits.take_lines_refused() + waiting
            self._tell(f"lines that were not kept: {lost}")

    def _add(self, pieces: Sequence[Piece]) -> None:
        """Have pieces wait for the end of the transaction, unless too much waits."""
        for piece in pieces:
            if self._cannot_write and self._size + piece.size > self._most_waiting:
                self._note_too_much()
                self._lost += piece.lines
                continue
            self._waiting.append(piece)
            self._size += piece.size

    def _note_too_much(self) -> None:
        if not self._is_too_much:
            self._is_too_much = True
            self._tell("too much waits for the transcript: what is said is not kept")

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        """Write what comes in within the context, after what could not be written before."""
        with self._writing:
            yield
            if self._is_last:
                self._transcript.wait_for_others(BUSY_TIMEOUT)
            if not self._cannot_write or self._is_last or time.monotonic() >= self._next_try:
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
        except TablesChanged as why:
            is_for_long = self._cannot_write and time.monotonic() >= self._failing_since + _REPAIR
            if is_for_long or self._is_last:
                self._put_aside(why)
            else:
                self._note_failure(why)
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
        size = self._transcript.log_size()
        if size >= self._log_to_tell:
            self._log_to_tell = 2 * size
            self._tell(
                f"another program reads the transcript, whose log cannot be emptied: it has {size >> 20} MB"
            )

    def _follow_the_file(self) -> None:
        found = self._transcript.look()
        if found is Found.NOT_OPEN:
            self._transcript.open_anew()
        elif found is Found.MOVED:
            self._transcript.open_anew()
            self._tell(
                "the transcript was moved or removed: what is said from now on is in a new file of its name"
            )
        elif found is Found.LOG_REMOVED:
            lost = "" if self._transcript.open_again() else ", but for what was said last"
            self._tell(f"a file beside the transcript was removed: what was in it is kept{lost}")

    def _write_waiting(self) -> None:
        try:
            self._write_together(self._waiting)
        except Refused:
            for piece in self._waiting:
                self._write_alone(piece)
        self._waiting = []
        self._size = 0

    def _write_alone(self, piece: Piece) -> None:
        try:
            self._write_together([piece])
        except Refused as why:
            # It would be refused again, and with it all that comes later.
            self._lost += piece.lines
            if self._refused_why != str(why):
                self._refused_why = str(why)
                self._tell(f"the transcript does not take what was said ({why}): it is not kept")

    def _write_together(self, pieces: Sequence[Piece]) -> None:
        self._opened = []
        self._found = set()
        try:
            with self._transcript.together():
                for piece in pieces:
                    piece.write()
        except BaseException:
            # Their rows were rolled back: each call is opened again with what is kept of it next.
            for call in self._opened:
                call.row = None
            raise

    def _put_aside(self, why: NotKept) -> None:
        if time.monotonic() < self._next_file:
            # A disk that damages whatever is written to it would be filled with such files.
            self._note_failure(why)
            return
        self._next_file = time.monotonic() + _BETWEEN_FILES
        try:
            aside = self._transcript.put_aside()
        except NotKept as failure:
            self._note_failure(failure)
            return
        self._tell(f"the transcript is damaged ({why}): it is {aside} now, and a new one is begun")
        self._cannot_write = True
        self._write()

    def _note_failure(self, why: NotKept) -> None:
        self._next_try = time.monotonic() + _RETRY
        if not self._cannot_write:
            self._cannot_write = True
            self._failing_since = time.monotonic()
            # Nothing that is said from now on waits for the file.
            self._transcript.wait_for_others(_GLANCE)
            self._tell(
                f"the transcript cannot be written ({why}): what is said is kept when it can be"
            )

    def _note_stuck(self) -> None:
        # A commit is under way, which is a failure until it ends.
        self._cannot_write = True
        self._tell(
            "the transcript cannot be written (its disk does not answer): what is said is kept when it can be"
        )

    def _note_success(self) -> None:
        if self._cannot_write:
            self._cannot_write = self._is_too_much = False
            self._transcript.wait_for_others(BUSY_TIMEOUT)
            lost, self._lost = self._lost + self._commits.take_lines_refused(), 0
            self._tell(f"the transcript is written again; lines that were not kept: {lost}")

    def _open(self, call: Call) -> int:
        """Return the row of a call, which is written now unless it is in the file. Within a transaction."""
        row = self._row_in_file(call)
        if row is None:
            at = as_text(call.opened_at)
            row = call.row = self._transcript.open_call(call.number, call.peer, at, call.name)
            call.file = self._transcript.file
            self._opened.append(call)
        self._found.add(call)
        return row

    def _row_in_file(self, call: Call) -> int | None:
        if call.row is None or call.file != self._transcript.file:
            return None
        # Another desk, which keeps less, may have removed a call that was silent for long.
        is_there = call in self._found or self._transcript.has_call(call.row, call.number)
        return call.row if is_there else None

    def _tell(self, text: str) -> None:
        self._screen.tell([notice(text)])
