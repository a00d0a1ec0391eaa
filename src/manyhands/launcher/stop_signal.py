"""SIGTERM in the processes of a program under `manyhands run --workers`, unless the program handles it."""

import os
import signal
from collections.abc import Callable
from types import FrameType

from manyhands.runtime.caller import is_main_thread
from manyhands.runtime.fork_hooks import renew_in_copies


class StopSignal:
    """The handler of it. Made in the main thread, early: a program may serve in another one, which cannot.

    Until the process is a worker the signal does to it what it does to any: it ends.
    """

    def __init__(self) -> None:
        self.is_held_back = False
        """Whether it means nothing: of a template the supervisor says when it ends."""

        self.act: Callable[[], object] | None = None
        """What it does in a worker."""

        if is_main_thread() and signal.getsignal(signal.SIGTERM) is signal.SIG_DFL:
            signal.signal(signal.SIGTERM, self)
        renew_in_copies(self, StopSignal.leave)

    def __call__(self, number: int, _frame: FrameType | None) -> None:
        """Handle the signal."""
        if self.act is not None:
            self.act()
        elif not self.is_held_back:
            self.leave()
            os.kill(os.getpid(), number)

    @property
    def is_handled(self) -> bool:
        """Whether this, or the program, handles it."""
        return signal.getsignal(signal.SIGTERM) is not signal.SIG_DFL

    def leave(self) -> None:
        """Have it do what it does to any process, as in a copy that the program has forked."""
        if signal.getsignal(signal.SIGTERM) is self:
            signal.signal(signal.SIGTERM, signal.SIG_DFL)

    def note_before(self, note: Callable[[], object]) -> None:
        """Have it noted that the signal has come, before the program handles it. For the main thread."""
        handler = signal.getsignal(signal.SIGTERM)
        if not callable(handler) or handler is self:
            return
        of_program: Callable[[int, FrameType | None], object] = handler

        def handle(number: int, frame: FrameType | None) -> None:
            note()
            of_program(number, frame)

        signal.signal(signal.SIGTERM, handle)
