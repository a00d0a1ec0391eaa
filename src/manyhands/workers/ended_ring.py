"""A ring in the page that a worker shares with its supervisor: which of its connections have ended, and why.

A worker that wrote to its link for each would have a system call for it, and would wake its supervisor. Here
neither is: the supervisor looks by itself, again and again while much ends, and asks to be told before it
sleeps for longer.
"""

from typing import Final

_BITS: Final = 9

SIZE: Final = 1 << _BITS
"""Ends that may wait: those of a tenth of a second, at five thousand connections a second."""

WIDTH: Final = SIZE + 2
"""Numbers of eight bytes that a ring takes."""

_IS_AWAITED: Final = 0
_TAKEN: Final = 1
_FIRST: Final = 2

_LAP: Final = 63
_REASON: Final = 55
_OF_REASON: Final = 0xFF
_OF_PLACE: Final = (1 << _REASON) - 1


class EndedRing:
    """The ring of one worker.

    Each end is one number, written in one piece: from its highest bit on, whether the lap is an odd one, the
    position of the reason among those that the worker has listed (8 bits), and the place. So the reader needs
    to know nothing else, and sees no half of an end, in whatever order the processor writes.

    Parameters
    ----------
    memory
        The page, as numbers of eight bytes.
    first
        Where the ring begins.
    """

    __slots__ = ("_first", "_memory", "_noted", "_taken")

    def __init__(self, memory: memoryview, first: int) -> None:
        self._memory = memory
        self._first = first
        self._noted = 0
        # That of a supervisor which goes on with a ring that another program has begun.
        self._taken: int = memory[first + _TAKEN]

    def clear(self) -> None:
        """Begin anew: for the supervisor, before the worker is there. The first end is to be told of."""
        for position in range(WIDTH):
            self._memory[self._first + position] = 0
        self._taken = 0
        self.is_awaited = True

    @property
    def is_awaited(self) -> bool:
        """Whether the supervisor sleeps until it is told of an end. The worker that tells takes this back."""
        return bool(self._memory[self._first + _IS_AWAITED])

    @is_awaited.setter
    def is_awaited(self, value: bool) -> None:
        self._memory[self._first + _IS_AWAITED] = value

    def note(self, place: int, reason: int) -> bool:
        """Note an end; return False when there is no room. For the worker, one thread at a time."""
        memory, noted, first = self._memory, self._noted, self._first
        if noted - memory[first + _TAKEN] >= SIZE:
            return False
        cell = first + _FIRST + noted % SIZE
        # Of laps the first one is odd, for in a new ring all are 0.
        word = (~noted >> _BITS & 1) << _LAP | reason << _REASON | place
        try:
            memory[cell] = word
            self._noted = noted + 1
        except BaseException:
            # Of a signal's handler: had it come between the two, the next end would be written over this one.
            self._noted = noted + (memory[cell] == word)
            raise
        return True

    def take(self) -> list[tuple[int, int]]:
        """Return the place and the position of the reason of each that has ended. For the supervisor."""
        memory, taken, first = self._memory, self._taken, self._first + _FIRST
        ended = []
        # Bounded, for it is the worker that writes.
        for position in range(taken, taken + SIZE):
            word = memory[first + position % SIZE]
            if word >> _LAP != ~position >> _BITS & 1:
                break
            ended.append((word & _OF_PLACE, word >> _REASON & _OF_REASON))
        if ended:
            self._taken = memory[self._first + _TAKEN] = taken + len(ended)
        return ended
