"""The output of a plain screen: written at once and whole, and on a full disk as far as it goes."""

import errno
import os
import stat
import sys
from typing import TextIO

from manyhands.runtime.sockets import descriptor_of, takes_more

_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
"""Errors of a disk that is full; room may be made."""


class PlainOutput:
    """Writes text to a file, a pipe or a terminal, beside the buffers of Python, which keep what failed.

    Parameters
    ----------
    output : TextIO
        Where to write.
    may_lose : bool
        Whether lines for which a disk has no room are dropped and counted; else that is an error.

    Notes
    -----
    For one thread.
    """

    def __init__(self, output: TextIO, *, may_lose: bool = False) -> None:
        self._output = output
        self._may_lose = may_lose
        self._lost = 0
        self._why = ""
        self._is_torn = False

    def write(self, text: str) -> None:
        """Write lines, and before them how many were lost, once there is room again.

        Raises
        ------
        OSError
            The output takes no more: its reader has gone, or, without `may_lose`, the disk is full.
        """
        descriptor = descriptor_of(self._output)
        if descriptor < 0:  # none of the system's
            self._output.write(text)
            self._output.flush()
            return
        before = ("\n" if self._is_torn else "") + (f"-- {self._told()}\n" if self._lost else "")
        data = memoryview(self._encoded(before + text))
        try:
            while data:
                data = data[_written(descriptor, data) :]
        except OSError as error:
            if not self._may_lose or not _is_full(descriptor, error):
                raise
            self._note_lost(bytes(data), text, error)
        else:
            self._lost, self._is_torn = 0, False

    def _note_lost(self, left: bytes, text: str, error: OSError) -> None:
        self._lost += min(left.count(b"\n"), text.count("\n"))
        self._why = error.strerror or str(error)
        # What is left may begin in the middle of a line; an empty line more does no harm.
        self._is_torn = True

    def close(self) -> None:
        """Say on standard error what was lost, and has not been told."""
        if self._lost and sys.stderr is not None and takes_more(descriptor_of(sys.stderr)):
            sys.stderr.write(f"manyhands: {self._told()}\n")

    def _told(self) -> str:
        return (
            f"the output could not be written ({self._why}); lines that are missing: {self._lost}"
        )

    def _encoded(self, text: str) -> bytes:
        return text.encode(self._output.encoding, self._output.errors or "strict")


def _written(descriptor: int, data: memoryview) -> int:
    try:
        return os.write(descriptor, data)
    except BlockingIOError:
        # Another program that shares it has changed that for all (O_NONBLOCK, fcntl(2)).
        os.set_blocking(descriptor, True)
        return 0


def _is_full(descriptor: int, error: OSError) -> bool:
    """Tell whether a disk is full, or takes nothing for another reason; a pipe or a terminal has gone."""
    return error.errno in _FULL or stat.S_ISREG(os.fstat(descriptor).st_mode)
