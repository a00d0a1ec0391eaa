"""Who is on the line, whom the operator answers, and who waits to be read: state, and nothing else."""

import threading
from dataclasses import dataclass
from itertools import islice

from manyhands.desk.call import Call, Speaker
from manyhands.desk.shown import listed

NAMED = 50
"""Unread callers that a status names: more than the widest terminal has room for, and few to write anew at
each line that ten thousand callers say."""

_LONGEST_NUMBER = 18
"""Digits: nobody has called so often, and Python refuses to read thousands of them."""


@dataclass(frozen=True, slots=True)
class Status:
    """The state of the switchboard, for the prompt.

    Attributes
    ----------
    current : str or None
        The label of the caller who is being answered.
    number : int or None
        The number of that caller.
    on_the_line : int
        How many callers there are.
    unread : tuple of str
        Callers with unread lines and how many these are, ``2 Bob (3)``: as many as a prompt could name.
    """

    current: str | None
    number: int | None
    on_the_line: int
    unread: tuple[str, ...]


class NoSuchCaller(LookupError):  # noqa: N818 - what the operator is told
    """Nobody, or more than one, is meant; the text says so in one sentence."""


class Switchboard:
    """The calls of a desk. Thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._calls: dict[int, Call] = {}
        self._count = 0
        self._current: Call | None = None
        self._is_closed = False

    @property
    def calls(self) -> list[Call]:
        """Who is on the line, in the order of their numbers."""
        with self._lock:
            return list(self._calls.values())

    @property
    def current(self) -> Call | None:
        """The caller who is being answered."""
        return self._current

    def connect(self, line: Speaker, peer: str, *, may_be_current: bool = False) -> Call:
        """Put a caller on the line, be it to hear that the desk has closed.

        With `may_be_current` it becomes the current one, unless there is one: of several who call at once,
        the one with the lowest number.
        """
        with self._lock:
            self._count += 1
            call = Call(self._count, peer, line, came_too_late=self._is_closed)
            self._calls[call.number] = call
            if may_be_current and self._current is None:
                self._current = call
            return call

    def disconnect(self, call: Call) -> bool:
        """Take a caller off the line; return whether it was the current one.

        Nobody takes its place: what the operator is typing was meant for the one who has gone.
        """
        with self._lock:
            self._calls.pop(call.number, None)
            was_current = self._current is call
            if was_current:
                self._current = None
            return was_current

    def choose(self, call: Call) -> None:
        """Make `call` the current one, and what it said read."""
        with self._lock:
            if call.number not in self._calls:
                raise NoSuchCaller(f"{call.label} has gone")
            self._current = call
            call.unread = 0

    def spoke(self, call: Call, lines: int) -> None:
        """Note that a caller said so many lines: unread, unless it is the current one."""
        with self._lock:
            if self._current is not call:
                call.unread += lines

    def find(self, whom: str) -> Call:
        """Return the caller with this number or name.

        Raises
        ------
        NoSuchCaller
            When there is none, or several have the name.
        """
        found = self._numbered(whom) if whom.isdecimal() else self._called(whom)
        if len(found) == 1:
            return found[0]
        if found:
            numbers = listed(str(call.number) for call in found)
            raise NoSuchCaller(
                f"{len(found)} callers are called {whom}: say which by number, {numbers}"
            )
        raise NoSuchCaller(f"nobody on the line is {whom}; there {self.who_is_there()}")

    def _numbered(self, number: str) -> list[Call]:
        if len(number) > _LONGEST_NUMBER:
            return []
        call = self._calls.get(int(number))
        return [] if call is None else [call]

    def _called(self, name: str) -> list[Call]:
        name = name.casefold()
        return [call for call in self.calls if (call.name or call.peer).casefold() == name]

    def who_is_there(self, at_most: int = 8) -> str:
        """Say who is on the line, in the middle of a sentence: ``are 1 Anna, 2 Bob``."""
        labels = [call.label for call in self.calls]
        more = [f"{len(labels) - at_most} more"] if len(labels) > at_most else []
        return f"{'is' if len(labels) < 2 else 'are'} {listed([*labels[:at_most], *more])}"

    def status(self) -> Status:
        """Return the state as the prompt shows it."""
        with self._lock:
            current = self._current
            unread = (f"{c.label} ({c.unread})" for c in self._calls.values() if c.unread)
            return Status(
                current.label if current else None,
                current.number if current else None,
                len(self._calls),
                tuple(islice(unread, NAMED)),
            )

    def close(self) -> list[Call]:
        """Take no more calls; return those that are on the line."""
        with self._lock:
            self._is_closed = True
            return list(self._calls.values())
