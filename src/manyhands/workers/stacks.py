"""Where a worker's threads stand when it hangs: told to its supervisor without the interpreter's help."""

import faulthandler
import signal

SIGNAL = signal.SIGRTMIN + 7
"""The signal by which a supervisor asks: one of those that have no meaning (signal(7))."""

MOST_STACKS = 64 * 1024
"""Bytes of it at the most, which is what a pipe holds (pipe(7))."""


def tell_when_asked(descriptor: int) -> None:
    """Have the stacks of all threads written to a pipe when the signal comes.

    By C code in the signal's handler, so that a thread which holds the interpreter lock for ever, or a
    lock of the program's, does not keep it from telling. The pipe takes it at once, or not at all.
    """
    faulthandler.register(SIGNAL, file=descriptor, all_threads=True, chain=False)
