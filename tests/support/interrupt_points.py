"""An exception at every moment at which the handler of a signal can raise one, one after the other."""

import gc
import sys
from collections.abc import Callable, Iterator
from types import FrameType

from tests.support.interrupts import Interrupted


def interrupted_at_each_point(begin: Callable[[], Callable[[], object]]) -> Iterator[int]:
    """Call what `begin` returns, interrupted at its first point, at its second one and so on, up to the last.

    Python looks for signals where a function of its own begins, and after each call of one in C.
    """
    point = 0
    while is_interrupted_at(begin(), point):
        yield point
        point += 1


def is_interrupted_at(act: Callable[[], object], point: int) -> bool:
    """Call `act` with an exception at a point; return whether it has so many."""
    left = point

    def look(_frame: FrameType, event: str, _argument: object) -> None:
        nonlocal left
        if event in {"call", "c_return"}:
            left -= 1
            if left < 0:
                sys.setprofile(None)
                raise Interrupted

    before = sys.getprofile()
    # What is raised in a finalizer of another test's objects would be lost.
    gc.disable()
    try:
        sys.setprofile(look)
        act()
        sys.setprofile(None)  # a point of its own, at which all is done
    except Interrupted:
        return True
    finally:
        sys.setprofile(before)
        gc.enable()
    return False
