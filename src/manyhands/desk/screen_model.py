"""What a person at the desk sees: lines, the screens that show them, and the queue between the two."""

import threading
from collections import OrderedDict, deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Generic, Protocol, Self, TypeVar

from manyhands.model.escaping import escape
from manyhands.runtime.locks import Condition
from manyhands.runtime.unpatched import brief_lock


@dataclass(frozen=True, slots=True)
class ScreenLine:
    """One line on a screen, safe to print: everything from outside is escaped.

    Attributes
    ----------
    label : str
        The caller that it is from or about; ``""`` for the desk itself.
    text : str
        The line.
    number : int or None
        The caller's number, after which the label is coloured.
    is_said : bool
        Whether a caller or the operator said it; else it is the desk's word.
    is_own : bool
        Whether it was said by the person at this screen.
    """

    label: str
    text: str
    number: int | None = None
    is_said: bool = False
    is_own: bool = False

    def __str__(self) -> str:
        if not self.is_said:
            return f"-- {self.text}"
        return f"[{self.label}] {self.text}" if self.label else self.text


def notice(text: str, number: int | None = None) -> ScreenLine:
    """Make a line about the desk or, with a number, about a caller."""
    return ScreenLine("", escape(text), number)


class Screen(Protocol):
    """Where a person sees lines.

    Notes
    -----
    Both methods may be called from any thread.
    """

    def show(self, lines: Sequence[ScreenLine], source: int | None = None) -> None:
        """Show lines, in order. May wait for the screen, but never on account of another source's lines.

        Parameters
        ----------
        lines : sequence of ScreenLine
            What to show.
        source : int or None
            The number of the call that they come from: its thread waits until the screen has caught up with
            what it showed before. None: the operator's own thread.
        """

    def refresh(self) -> None:
        """Note that callers came, went, or changed: what the prompt shows of them is out of date."""

    def is_typing(self) -> bool:
        """Tell whether the operator is in the middle of a line."""


class Keyboard(Screen, Protocol):
    """A screen with a keyboard; a context, at whose end everything has been shown."""

    def __enter__(self) -> Self: ...

    def __exit__(self, *exception: object) -> None: ...

    def attend(self, carry_out: Callable[[str], bool]) -> bool:
        """Carry out lines until one returns False, or `stop`.

        Returns
        -------
        bool
            Whether the input has ended by itself.
        """

    def stop(self) -> None:
        """Make `attend` return. Safe in any thread and in signal handlers."""


Item = TypeVar("Item")

TURN = 20
"""Items that one source may have taken before it is the next one's turn."""


class _Batch(Generic[Item]):
    """What one source has waiting. Its next batch waits for the end of this one, not of all others."""

    __slots__ = ("is_taken", "items")

    def __init__(self, lock: threading.Lock) -> None:
        self.items: deque[Item] = deque()
        self.is_taken = Condition(lock)


class FairQueue(Generic[Item]):
    """A bounded queue with many sources and one reader, so that a flood of one source delays no other.

    Each source may have one batch waiting: with the next one it waits until the reader has caught up. So the
    queue holds at most one batch for each source. Items of one source stay in order.

    Notes
    -----
    Thread-safe, and fibers may wait in it.
    """

    def __init__(self) -> None:
        self._lock = brief_lock()
        self._filled = Condition(self._lock)
        self._waiting: OrderedDict[int | None, _Batch[Item]] = OrderedDict()
        self._is_closed = False

    def put(self, source: int | None, batch: Iterable[Item]) -> None:
        """Add a batch; wait while another one of the same source is there, unless the source is None."""
        with self._lock:
            if source is not None:
                self._wait_for_turn(source)
            waiting = self._waiting.get(source)
            if waiting is None:
                waiting = self._waiting[source] = _Batch(self._lock)
            waiting.items.extend(batch)
            self._filled.notify_all()

    def _wait_for_turn(self, source: int) -> None:
        # A loop: another thread of the same source may have been quicker when this one wakes.
        while (waiting := self._waiting.get(source)) is not None and not self._is_closed:
            waiting.is_taken.wait_for(partial(self._is_through_with, waiting))

    def _is_through_with(self, batch: _Batch[Item]) -> bool:
        return self._is_closed or not batch.items

    def take(self, at_most: int) -> list[Item]:
        """Take the next items, a few of each source in turns; none when the queue is empty."""
        taken: list[Item] = []
        with self._lock:
            while self._waiting and len(taken) < at_most:
                # The source that has waited longest; with what is left of its batch it goes to the end.
                source, batch = self._waiting.popitem(last=False)
                turn = min(TURN, len(batch.items), at_most - len(taken))
                taken += [batch.items.popleft() for _ in range(turn)]
                if batch.items:
                    self._waiting[source] = batch
                else:
                    batch.is_taken.notify_all()
        return taken

    def wait(self) -> bool:
        """Wait until there is something to take; False when there is nothing, and the queue is closed."""
        with self._lock:
            self._filled.wait_for(lambda: self._waiting or self._is_closed)
            return bool(self._waiting)

    def close(self) -> None:
        """End all waits, now and later."""
        with self._lock:
            self._is_closed = True
            self._filled.notify_all()
            for batch in self._waiting.values():
                batch.is_taken.notify_all()
