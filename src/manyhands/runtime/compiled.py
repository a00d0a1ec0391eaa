"""Whether what was compiled may be used."""

import os
from collections.abc import Callable
from typing import TYPE_CHECKING

IS_PURE_PYTHON_WANTED = os.environ.get("MANYHANDS_PURE_PYTHON", "0") not in {"", "0"}
"""``MANYHANDS_PURE_PYTHON=1`` in the environment asks for plain Python, whatever could be compiled."""


# Memory for the frames of workers: kept from one to the next, where that could be compiled.
#
# The interpreter maps 16 KiB for the Python frames of each thread, and of each fiber, and unmaps them at
# its end (``DATA_STACK_CHUNK_SIZE`` in CPython's ``pystate.c``). With connections that live for one
# question and one answer that was 9 of the 12 µs that a fiber took to begin and to end. So up to 256 such
# pieces, 4 MiB, are kept for the next ones. It concerns the whole process, through the interface that
# CPython has for it (`PyObject_SetArenaAllocator`, docs.python.org/3/c-api/memory.html).


def _nothing() -> None:
    pass


keep: Callable[[], None] = _nothing
"""Keep the memory of workers that end from now on. Costs nothing when called again."""

if not TYPE_CHECKING and not IS_PURE_PYTHON_WANTED:
    try:
        from manyhands.runtime._frame_memory import keep
    except ImportError:
        keep = _nothing
