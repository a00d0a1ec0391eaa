"""Which topics workers follow: the hub writes it into a page of memory, in which each worker looks by itself.

So a worker that tells a room of which no other one has members asks nobody. And as the hub writes there
before it answers, the others know of a member once its `join` has returned.
"""

import binascii
import mmap
import os
from collections.abc import Iterable
from typing import Any

from manyhands.hub.frames import EVERYTHING

PLACES = 16_384
"""Topics that fall onto the same place are taken for each other: then the hub is asked in vain."""

WORD = 8
SHARED_BIT = 63
"""The bit of all workers beyond the first 63: each takes the others' for its own, and asks the hub."""


def place_of(topic: str) -> int:
    """Return the place of a topic in the page, the same in each process."""
    if topic == EVERYTHING:
        return 0
    return 1 + binascii.crc32(topic.encode("utf-8", "surrogatepass")) % PLACES


class TopicPage:
    """The page as the hub has it.

    Raises
    ------
    OSError
        When there is no memory for it.
    """

    def __init__(self) -> None:
        self.descriptor = os.memfd_create("manyhands-topics")
        size = (1 + PLACES) * WORD
        os.ftruncate(self.descriptor, size)
        self._words: Any = memoryview(mmap.mmap(self.descriptor, size)).cast("Q")

    def set(self, place: int, bits: Iterable[int]) -> None:
        """Note the bits of the workers that follow any topic of a place."""
        word = 0
        for bit in bits:
            word |= 1 << bit
        self._words[place] = word


class TopicView:
    """The page as a worker has it.

    Parameters
    ----------
    descriptor
        Of the page.
    bit
        The worker's own.

    Raises
    ------
    OSError, ValueError
        When it cannot be mapped.
    """

    def __init__(self, descriptor: int, bit: int) -> None:
        page = mmap.mmap(descriptor, (1 + PLACES) * WORD, access=mmap.ACCESS_READ)
        self._words: Any = memoryview(page).cast("Q")
        self._others = ~0 if bit == SHARED_BIT else ~(1 << bit)

    def is_followed(self, topic: str) -> bool:
        """Tell whether other workers may follow a topic: always when they do, and now and then when not."""
        words = self._words
        return bool((words[0] | words[place_of(topic)]) & self._others)
