"""Keeping what is said before it is shown or sent; and telling the operator when it cannot be kept."""

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Self

from manyhands.desk.call import Call
from manyhands.desk.clerk import Clerk
from manyhands.desk.endings import Ending
from manyhands.desk.shown import Screen, notice
from manyhands.desk.transcript import Direction, NotKept, Transcript


class Keeper:
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
        self._lock = threading.Lock()
        self._lost = 0
        self._clerk = Clerk(self._in_one_go)
        self._writing = threading.Lock()
        self._opened: list[Call] = []
        """The calls whose beginning is being kept: nothing of it counts before it is committed."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def call_opened(self, call: Call) -> None:
        """Keep that a caller is on the line."""
        self._try(lambda: self._open(call))

    def call_named(self, call: Call) -> None:
        """Keep a caller's name."""
        self._try(lambda: self._transcript.name_call(self._open(call), call.name or ""))

    def call_ended(self, call: Call, ending: Ending) -> None:
        """Keep that a call is over, and why."""
        self._try(lambda: self._transcript.end_call(self._open(call), ending))

    def said(self, direction: Direction, said: Sequence[tuple[Call, str]]) -> None:
        """Keep messages, each with its call, in one go."""
        if said:
            self._try(
                lambda: self._transcript.keep(direction, [(self._open(c), t) for c, t in said]),
                lines=len(said),
            )

    def desk_closed(self) -> None:
        """Keep that the desk closes; say what has not been kept until then."""
        self._try(self._transcript.close_session)
        if self._lost:
            self._tell(f"lines that were not kept: {self._lost - 1}")

    def close(self) -> None:
        """Keep what is under way, and nothing any more."""
        self._clerk.close()

    @contextmanager
    def _in_one_go(self) -> Iterator[None]:
        """Commit what is kept in the context, or nothing of it. For the clerk, as is `_open`."""
        with self._writing:
            self._opened = []
            try:
                with self._transcript.together():
                    yield
            except BaseException:
                for call in self._opened:
                    call.row = None
                raise

    def _open(self, call: Call) -> int:
        if call.row is None:
            call.row = self._transcript.open_call(call.number, call.peer)
            self._opened.append(call)
        return call.row

    def _try(self, write: Callable[[], object], lines: int = 0) -> None:
        try:
            self._clerk.do(write)
        except NotKept as why:
            self._failed(lines, why)
        else:
            if self._lost:
                self._works_again()

    def _failed(self, lines: int, why: NotKept) -> None:
        with self._lock:
            is_first = not self._lost
            # One for the failure itself: a call's beginning or end is no line, and still a loss.
            self._lost += lines + is_first
        if is_first:
            self._tell(f"the transcript cannot be written ({why}): what is said is not kept")

    def _works_again(self) -> None:
        with self._lock:
            lost, self._lost = self._lost, 0
        if lost:
            self._tell(f"the transcript is written again; lines that were not kept: {lost - 1}")

    def _tell(self, text: str) -> None:
        self._screen.show([notice(text)])
