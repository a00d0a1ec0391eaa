"""A signal whose handler raises an exception, as Ctrl-C does, at a moment of the timer's."""

import contextlib
import itertools
import signal
from collections.abc import Callable, Iterator
from types import FrameType


class Interrupted(BaseException):
    """What the handler raises."""


def interrupted(act: Callable[[], object], times: int) -> Iterator[None]:
    """Call `act` again and again in the main thread, until it is interrupted; so many times."""

    def raise_it(number: int, frame: FrameType | None) -> None:
        raise Interrupted

    before = signal.signal(signal.SIGALRM, raise_it)
    try:
        for turn in range(times):
            with contextlib.suppress(Interrupted):
                # Each time a little later, so that it comes at every step of what is done.
                signal.setitimer(signal.ITIMER_REAL, 0.0002 + turn % 37 * 1e-6)
                for _ in itertools.count():
                    act()
            yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
