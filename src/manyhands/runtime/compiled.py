"""The compiled parts: whether the program wants them, and the one that belongs to no engine."""

import os
from collections.abc import Callable
from typing import TYPE_CHECKING

IS_PURE_PYTHON_WANTED = os.environ.get("MANYHANDS_PURE_PYTHON", "0") not in {"", "0"}
"""``MANYHANDS_PURE_PYTHON=1`` in the environment asks for plain Python, whatever could be compiled."""


def _keep_none() -> None:
    pass


# The interpreter maps 16 KiB for the Python frames of each thread, and of each fiber, and unmaps them at
# its end (`DATA_STACK_CHUNK_SIZE` in CPython's `pystate.c`). For a connection of one question and one answer
# that was 9 of the 12 µs in which a fiber begins and ends. So up to 256 such pieces, 4 MiB, are kept for the
# next ones, in the whole process (`PyObject_SetArenaAllocator`, docs.python.org/3/c-api/memory.html).
keep_frame_memory: Callable[[], None] = _keep_none
"""Keep the frame memory of threads and fibers that end from now on. A second call costs nothing."""

if not TYPE_CHECKING and not IS_PURE_PYTHON_WANTED:
    try:
        from manyhands.runtime._frame_memory import keep as keep_frame_memory
    # It is not compiled on this machine, or was for another one: each has an exception of its own.
    except Exception:  # noqa: BLE001
        keep_frame_memory = _keep_none
