"""The calls of a desk: which there are, which one the operator answers, which ones have unread lines."""

import threading
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime
from itertools import islice
from typing import Protocol

from manyhands.desk.call_io import Ending
from manyhands.desk.look_alikes import looks
from manyhands.desk.names import fault, is_same

NAMED = 50
"""Unread callers that a status names: more than the widest terminal has room for, and few to write out again
at each line that ten thousand callers say."""

_LONGEST_CALL_NUMBER = 18
"""Digits: no desk has had so many calls, and Python refuses to read a number of thousands of digits."""


class Speaker(Protocol):
    """What the desk needs of a call's connection: `call_io.CallIO`, for one. Thread-safe."""

    encoding: str

    def say(self, text: str) -> bool:
        """Say something without waiting; return False when the call is over."""

    def hang_up(self, ending: Ending) -> None:
        """End the call from the desk's side."""


@dataclass(eq=False, slots=True)
class Call:
    """One call.

    Attributes
    ----------
    number : int
        Counts the calls of this desk, from 1.
    peer : str
        Where the caller calls from, safe to print.
    connection : Speaker
        What the desk says goes out on it.
    name : str or None
        The name that the caller has given itself.
    unread : int
        Lines said since the operator last answered the caller or turned to it.
    only_listens : bool
        Whether the caller has stopped talking for good, and still hears (a half-close).
    was_repaired : bool
        Whether the caller has been told that it does not send UTF-8.
    was_slowed : bool
        Whether the caller has been told that it says too much at once.
    came_too_late : bool
        Whether the desk had closed by then: the operator says no goodbye to the caller any more.
    row : int or None
        Its id in the transcript; None when it could not be written yet.
    file : int
        Which of the transcript's files that is (`Transcript.file`).
    opened_at : datetime
        When it called in, local time.
    """

    number: int
    peer: str
    connection: Speaker
    name: str | None = None
    unread: int = 0
    only_listens: bool = False
    was_repaired: bool = False
    was_slowed: bool = False
    came_too_late: bool = False
    row: int | None = None
    file: int = 0
    opened_at: datetime = field(default_factory=lambda: datetime.now().astimezone())

    @property
    def label(self) -> str:
        """The number with the name or, as long as there is none, the address: each line begins with it."""
        return f"{self.number} {self.name or self.peer}"


@dataclass(frozen=True, slots=True)
class Status:
    """The state of the switchboard, as the prompt shows it.

    Attributes
    ----------
    current : str or None
        The label of the caller that the operator answers.
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
    """The operator means no caller, or several; the text says so in one sentence."""


class NameRefused(ValueError):  # noqa: N818 - what the caller is told
    """A caller cannot have a name; the text says why in one sentence of ASCII."""


class Switchboard:
    """The calls of a desk. Thread-safe; its lock is held for moments only."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._calls: dict[int, Call] = {}
        # The calls by what their names look like: to compare a name with ten thousand would take too long.
        self._alike: dict[object, dict[int, Call]] = {}
        self._count = 0
        self._current: Call | None = None
        self._is_closed = False

    @property
    def calls(self) -> list[Call]:
        """The calls under way, in the order of their numbers."""
        with self._lock:
            return list(self._calls.values())

    @property
    def current(self) -> Call | None:
        """The call that the operator answers."""
        # One attribute is read in one step: no lock is needed.
        return self._current

    @property
    def is_closed(self) -> bool:
        """Whether no more calls are taken."""
        return self._is_closed

    def connect(self, connection: Speaker, peer: str, *, may_be_current: bool = False) -> Call:
        """Enter a new call, even if the caller is only to hear that the desk has closed.

        With `may_be_current` it becomes the current one, unless there is one: of several that come at once,
        the one with the lowest number.
        """
        with self._lock:
            # Numbers are never given out again: an operator who types one means the call of a moment ago.
            self._count += 1
            call = Call(self._count, peer, connection, came_too_late=self._is_closed)
            self._calls[call.number] = call
            if may_be_current and self._current is None:
                self._current = call
            return call

    def disconnect(self, call: Call) -> bool:
        """Strike a call off; return whether it was the current one. Once more does no harm."""
        with self._lock:
            self._calls.pop(call.number, None)
            self._forget_name(call)
            was_current = self._current is call
            if was_current:
                # No other call takes its place: what the operator is typing was meant for this caller.
                self._current = None
            return was_current

    def give_name(self, call: Call, name: str) -> Call | None:
        """Name a call; return another one of the same name, in any case, if there is one.

        Raises
        ------
        NameRefused
            No caller may have this name, or another one has a name that only looks the same.
        """
        why_not = fault(name)
        if why_not is not None:
            raise NameRefused(why_not)
        with self._lock:
            others = [
                c
                for look in looks(name)
                for c in self._alike.get(look, {}).values()
                if c is not call
            ]
            if not all(is_same(name, other.name or "") for other in others):
                raise NameRefused("there is a caller with a name that looks the same")
            self._forget_name(call)
            call.name = name
            # One that has hung up meanwhile is in no list any more.
            if call.number in self._calls:
                for look in looks(name):
                    self._alike.setdefault(look, {})[call.number] = call
            return others[0] if others else None

    def _forget_name(self, call: Call) -> None:
        for look in looks(call.name or ""):
            calls = self._alike.get(look, {})
            calls.pop(call.number, None)
            if not calls:
                self._alike.pop(look, None)

    def choose(self, call: Call) -> None:
        """Make `call` the current one, and mark all that was said in it as read."""
        with self._lock:
            if call.number not in self._calls:
                raise NoSuchCaller(f"{call.label} has gone")
            self._current = call
            call.unread = 0

    def spoke(self, call: Call, lines: int) -> None:
        """Count lines that a caller said as unread, unless the call is the current one."""
        with self._lock:
            if self._current is not call:
                call.unread += lines

    def find(self, caller: str) -> Call:
        """Return the call of the caller with this number or name.

        Raises
        ------
        NoSuchCaller
            When there is none, or several have the name.
        """
        found = self._numbered(caller) if caller.isdecimal() else self._called(caller)
        if len(found) == 1:
            return found[0]
        if found:
            numbers = _listed(str(call.number) for call in found)
            raise NoSuchCaller(
                f"{len(found)} callers are called {caller}: say which by number, {numbers}"
            )
        raise NoSuchCaller(f"nobody on the line is {caller}; there {self.who_is_there()}")

    def _numbered(self, number: str) -> list[Call]:
        if len(number) > _LONGEST_CALL_NUMBER:
            return []
        call = self._calls.get(int(number))
        return [] if call is None else [call]

    def _called(self, name: str) -> list[Call]:
        name = name.casefold()
        return [call for call in self.calls if (call.name or call.peer).casefold() == name]

    def who_is_there(self, at_most: int = 8) -> str:
        """List the callers, in the middle of a sentence: ``are 1 Anna, 2 Bob``."""
        labels = [call.label for call in self.calls]
        more = [f"{len(labels) - at_most} more"] if len(labels) > at_most else []
        return f"{'is' if len(labels) < 2 else 'are'} {_listed([*labels[:at_most], *more])}"

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
        """Take no more calls; return those under way."""
        with self._lock:
            self._is_closed = True
            return list(self._calls.values())


def _listed(items: Iterable[str]) -> str:
    """Join words for a sentence: ``1 Anna, 2 Bob``."""
    return ", ".join(items) or "nobody"
