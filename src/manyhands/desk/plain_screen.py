"""A screen without a terminal: lines of text out, lines of text in, for pipes and scripts."""

import io
import os
import select
import signal
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from typing import Self, TextIO

from manyhands.desk.messages import LineTooLong, MessageDecoder
from manyhands.desk.screen_model import FairQueue, ScreenLine
from manyhands.model.usage_errors import Mistake
from manyhands.runtime.wakeup import WakeUp

LONGEST_ORDER = 1024 * 1024
"""Bytes of one line on standard input: the operator is trusted, a runaway file is not."""

MOST_WRITTEN = 500
"""Lines of one write: more at once would be no cheaper."""

_OPERATOR = -1
"""The source of lines that are no caller's. A script that gives orders and reads nothing has to wait, too."""


class PlainScreen:
    """Writes what the operator is to see, and reads what the operator types, line by line.

    Parameters
    ----------
    keyboard : int
        The descriptor to read from.
    output : TextIO
        Where to write; each batch is flushed. A thread of its own writes, since the reader may be slow.

    Notes
    -----
    `show`, `refresh` and `stop` may be called from any thread, `stop` from signal handlers too; the rest
    belongs to the main thread. Leaving the context writes what still waits.
    """

    def __init__(self, keyboard: int, output: TextIO) -> None:
        self._keyboard = keyboard
        self._output = output
        self._wake_up = WakeUp()
        self._is_stopping = False
        self._is_looked_at = False
        self._failure: OSError | None = None
        self._queue: FairQueue[str] = FairQueue()
        self._writer = threading.Thread(target=self._write, name="manyhands-output", daemon=True)

    @classmethod
    def on_standard_streams(cls) -> Self:
        """Return a screen on standard input and output."""
        # In a program that was started with them closed these are None.
        keyboard = sys.stdin.fileno() if sys.stdin else os.open(os.devnull, os.O_RDONLY)
        return cls(keyboard, sys.stdout or io.StringIO())

    def __enter__(self) -> Self:
        self._writer.start()
        # A signal that another thread of the system receives has to wake the poll of this one.
        self._woken_before = signal.set_wakeup_fd(
            self._wake_up.signal_fileno(), warn_on_full_buffer=False
        )
        return self

    def __exit__(self, *exception: object) -> None:
        signal.set_wakeup_fd(self._woken_before)
        # The writer ends when it has written what waits.
        self._queue.close()
        self._writer.join()

    def show(self, lines: Sequence[ScreenLine], source: int | None = None) -> None:
        """Write lines; the caller waits until the last lines of the same source are written."""
        self._queue.put(_OPERATOR if source is None else source, [f"{line}\n" for line in lines])

    def _write(self) -> None:
        """Write lines as they come. Runs in a thread."""
        while self._queue.wait():
            text = "".join(self._queue.take(MOST_WRITTEN))
            if self._failure is None:
                self._try_to_write(text)

    def _try_to_write(self, text: str) -> None:
        try:
            self._output.write(text)
            self._output.flush()
        except OSError as failure:
            # The reader has gone (EPIPE), or the disk is full. The main thread raises it, and so ends the
            # program; until then lines are taken and dropped, for a call must not wait for a writer.
            self._failure = failure
            self.stop()

    def refresh(self) -> None:
        """Have `wait_until` look again."""
        if self._is_looked_at:
            self._wake_up.wake()

    def is_typing(self) -> bool:
        """Return False: a line of a pipe is there at once."""
        return False

    def stop(self) -> None:
        """Make `attend` and `wait_until` return."""
        self._is_stopping = True
        self._wake_up.wake()

    def attend(self, carry_out: Callable[[str], bool]) -> bool:
        """Read lines and carry them out, until `carry_out` returns False, the input ends, or `stop`.

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
                # The clock stands still: however slowly a pipe writes, a line is what has an end.
                messages = decoder.feed(data, now=0.0)
            except LineTooLong as too_long:
                yield from (message.text for message in too_long.messages)
                raise
            yield from (message.text for message in messages)
        if not self._is_over():
            yield from (message.text for message in decoder.finish())

    def wait_until(self, condition: Callable[[], bool]) -> None:
        """Wait until `condition` holds, which is called after each `refresh`, or `stop`."""
        # Only from now on does `refresh` wake this thread: it is called for each line that a caller says.
        self._is_looked_at = True
        while not condition() and not self._is_over():
            self._wake_up.wait()
            self._wake_up.drain()

    def _packets(self) -> Iterator[bytes]:
        poll = select.poll()
        poll.register(self._keyboard, select.POLLIN)
        poll.register(self._wake_up, select.POLLIN)
        while not self._is_over():
            ready = [descriptor for descriptor, _ in poll.poll()]
            # First the wake-ups, then the flag: one that comes in between wakes the next poll.
            self._wake_up.drain()
            if self._keyboard in ready and not self._is_over():
                data = os.read(self._keyboard, select.PIPE_BUF)
                if not data:
                    return
                yield data

    def _is_over(self) -> bool:
        if self._failure is not None:
            raise self._failure
        return self._is_stopping
