"""A screen without a terminal: lines of text out, lines of text in, for pipes and scripts."""

import os
import select
import threading
from collections.abc import Callable, Iterator, Sequence
from typing import TextIO

from manyhands.rules.messages import LineTooLong, MessageDecoder
from manyhands.rules.mistakes import Mistake
from manyhands.servers.waker import Waker

from .shown import Shown

LONGEST_ORDER = 1024 * 1024
"""Bytes of one line on standard input: the operator is trusted, a runaway file is not."""


class Lines:
    """Writes what the operator is to see, and reads what the operator types, line by line.

    Parameters
    ----------
    keyboard : int
        The descriptor to read from.
    output : TextIO
        Where to write; each batch is flushed.

    Notes
    -----
    `show`, `refresh` and `stop` may be called from any thread, `stop` from signal handlers too; the rest
    belongs to one thread.
    """

    def __init__(self, keyboard: int, output: TextIO) -> None:
        self._keyboard = keyboard
        self._output = output
        self._lock = threading.Lock()
        self._waker = Waker()
        self._is_stopping = False
        self._failure: OSError | None = None

    def show(self, lines: Sequence[Shown], source: int | None = None) -> None:  # noqa: ARG002 - a screen's form
        """Write lines. Waits for the reader of the output, if need be."""
        self.write("".join(f"{line}\n" for line in lines))

    def write(self, text: str) -> None:
        """Write text that is safe to print, and flush it."""
        try:
            with self._lock:
                self._output.write(text)
                self._output.flush()
        except OSError as failure:
            # Nobody reads any more. That is for the main thread, which ends the program.
            self._failure = failure
            self.stop()

    def refresh(self) -> None:
        """Have `wait_until` look again."""
        self._waker.wake()

    def is_typing(self) -> bool:
        """Tell that nobody is in the middle of a line."""
        return False

    def stop(self) -> None:
        """Make `attend` and `wait_until` return."""
        self._is_stopping = True
        self._waker.wake()

    def attend(self, carry_out: Callable[[str], bool]) -> bool:
        """Read lines and carry them out, until one says so, the input ends, or `stop`.

        Returns
        -------
        bool
            Whether the input has ended.

        Raises
        ------
        Mistake
            A line has more than `LONGEST_ORDER` bytes. Those before it have been carried out.
        OSError
            The output cannot be written.
        """
        try:
            return all(carry_out(text) for text in self._texts()) and not self._is_over()
        except LineTooLong as too_long:
            raise Mistake(f"a line of the input is longer than {too_long.limit} bytes") from None

    def _texts(self) -> Iterator[str]:
        decoder = MessageDecoder(LONGEST_ORDER)
        for data in self._packets():
            try:
                messages = decoder.feed(data, now=0.0)
            except LineTooLong as too_long:
                yield from (message.text for message in too_long.messages)
                raise
            yield from (message.text for message in messages)
        if not self._is_over():
            yield from (message.text for message in decoder.finish())

    def wait_until(self, condition: Callable[[], bool]) -> None:
        """Wait until `condition` holds, which is looked at after each `refresh`, or `stop`."""
        while not condition() and not self._is_over():
            self._waker.wait()
            self._waker.drain()

    def _packets(self) -> Iterator[bytes]:
        poll = select.poll()
        poll.register(self._keyboard, select.POLLIN)
        poll.register(self._waker, select.POLLIN)
        while not self._is_over():
            ready = [descriptor for descriptor, _ in poll.poll()]
            self._waker.drain()
            if self._keyboard in ready and not self._is_over():
                data = os.read(self._keyboard, select.PIPE_BUF)
                if not data:
                    return
                yield data

    def _is_over(self) -> bool:
        if self._failure is not None:
            raise self._failure
        return self._is_stopping
