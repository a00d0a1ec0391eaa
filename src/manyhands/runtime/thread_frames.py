"""Where threads stand, asked for in a way that freezes no process."""

import gc
import sys
from collections.abc import Callable
from operator import call
from types import BuiltinFunctionType, FrameType
from typing import Any

MAY_FREEZE = sys.version_info < (3, 11, 9)
"""Whether the interpreter has the fault in https://github.com/python/cpython/issues/106883.

`sys._current_frames` holds the lock on the list of threads, and makes objects. When garbage is collected just
then, and a destructor lets another thread run that begins or ends a thread, that one waits for the list with
the interpreter's lock, which the first one waits for.
"""


def current_frames(ask: Callable[[], dict[int, FrameType]]) -> dict[int, FrameType]:
    """Return the frame on top of each thread, by the thread's number. Thread-safe.

    Parameters
    ----------
    ask
        `sys._current_frames`, as the program has it or as the system has it (`unpatched.original`). It is
        called here alone.
    """
    # A function in Python, as `manyhands run` has one for fibers, comes here itself for the system's frames.
    if not MAY_FREEZE or not isinstance(ask, BuiltinFunctionType) or not gc.isenabled():
        return ask()
    steps: tuple[Callable[[], Any], ...] = (gc.disable, ask, gc.enable)
    try:
        # One step for the interpreter, so no other thread finds the collector off, or turns it off meanwhile.
        frames: dict[int, FrameType] = tuple(map(call, steps))[1]
    except BaseException:
        gc.enable()
        raise
    return frames
