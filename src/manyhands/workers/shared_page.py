"""A page of memory that a supervisor shares with its workers: a slot for each, one writer for each figure.

The supervisor reads it without asking, so it knows how far a worker is that hangs, and what one had begun
that was killed. Each figure is eight bytes, written in one piece.
"""

import mmap
import os
from typing import Final

from manyhands.config.option_types import MOST_WORKERS
from manyhands.workers.ended_ring import WIDTH, EndedRing

SLOTS = 8 * MOST_WORKERS
"""Workers at once, those of old generations too, which may be several."""

_TURNS: Final = 0
_AWAITED: Final = 1
_RETURNED: Final = 2
_ENDED: Final = 3
_BEGUN: Final = _ENDED + WIDTH

MOST_LISTENERS: Final = 200
"""Listeners of which a slot has a figure: a worker gets a descriptor for each in one message (unix(7))."""

_WIDTH: Final = _BEGUN + MOST_LISTENERS


class Slot:
    """The slot of one worker.

    Parameters
    ----------
    memory
        The page, as numbers of eight bytes.
    first
        Where the slot begins.
    """

    __slots__ = ("_first", "_memory", "ended")

    def __init__(self, memory: memoryview, first: int) -> None:
        self._memory = memory
        self._first = first
        self.ended = EndedRing(memory, first + _ENDED)
        """What says which connections have ended."""

    def clear(self) -> None:
        """Have all figures be 0: for the supervisor, before the worker is there."""
        self.ended.clear()
        figures = (_TURNS, _AWAITED, _RETURNED, *range(_BEGUN, _WIDTH))
        for figure in figures:
            self._memory[self._first + figure] = 0

    @property
    def turns(self) -> int:
        """How many turns the worker's accept loop has made."""
        turns: int = self._memory[self._first + _TURNS]
        return turns

    def note_turn(self) -> None:
        """Count a turn of the accept loop. For the worker."""
        self._memory[self._first + _TURNS] += 1

    @property
    def is_awaited(self) -> bool:
        """Whether the supervisor waits for the worker to take something. It alone writes this."""
        return bool(self._memory[self._first + _AWAITED])

    @is_awaited.setter
    def is_awaited(self, value: bool) -> None:
        self._memory[self._first + _AWAITED] = value

    @property
    def returned(self) -> int:
        """How many connections the worker has given back."""
        count: int = self._memory[self._first + _RETURNED]
        return count

    def note_returned(self) -> None:
        """Count a connection that is given back. For the worker, before it counts as begun."""
        self._memory[self._first + _RETURNED] += 1

    def begun_of_all(self, listeners: int) -> list[int]:
        """Return how many messages the worker has taken from the deal channel of each listener."""
        first = self._first + _BEGUN
        return self._memory[first : first + listeners].tolist()

    def note_begun(self, listener: int) -> None:
        """Count a message that was taken from a deal channel. For the worker."""
        self._memory[self._first + _BEGUN + listener] += 1


class SharedPage:
    """The page with all slots, which take 6 KiB each; for those that no worker has had there is no memory.

    Parameters
    ----------
    descriptor
        Of a page that another process has made; None makes one.

    Raises
    ------
    OSError
        When there is no memory, or no descriptor.
    """

    def __init__(self, descriptor: int | None = None) -> None:
        size = 8 * _WIDTH * SLOTS
        self.descriptor = (
            os.memfd_create("manyhands-workers", os.MFD_CLOEXEC)
            if descriptor is None
            else descriptor
        )
        if descriptor is None:
            os.ftruncate(self.descriptor, size)
        else:
            # That of another version may have more slots, or fewer.
            size = os.fstat(descriptor).st_size
        self._memory = memoryview(mmap.mmap(self.descriptor, size)).cast("Q")

    def slot(self, number: int) -> Slot:
        """Return the slot of a number, from 0."""
        return Slot(self._memory, number * _WIDTH)

    def close(self) -> None:
        """Give the descriptor back; the memory goes with its last slot."""
        os.close(self.descriptor)
