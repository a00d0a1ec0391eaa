"""A screen without a terminal: lines of text out, lines of text in, for pipes and scripts."""

import os
import select
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from typing import Self, TextIO

from manyhands.desk.fair_queue import FairQueue
from manyhands.desk.messages import LineTooLong, MessageDecoder
from manyhands.desk.shown import Shown
from manyhands.model.usage_errors import Mistake
from manyhands.runtime.wakeup import WakeUp

LONGEST_ORDER = 1024 * 1024
"""Bytes of one line on standard input: the operator is trusted, a runaway file is not."""


BATCH = 500
"""Lines of one write: more would not be cheaper, and the last of them would only come later."""

_OWN = -1
"""The source of lines that are no caller's. A script that gives orders and reads nothing has to wait, too."""


class Lines:
    """Writes what the operator is to see, and reads what the operator types, line by line.

    Parameters
    ----------
    keyboard : int
        The descriptor to read from.
    output : TextIO
        Where to write; each batch is flushed. A thread writes, so that nobody else waits for the reader.

    Notes
    -----
    `show`, `refresh` and `stop` may be called from any thread, `stop` from signal handlers too; the rest
    belongs to the main thread. Leaving the context writes what still waits.
    """

    def __init__(self, keyboard: int, output: TextIO) -> None:
        self._keyboard = keyboard
        self._output = output
        self._waker = WakeUp()
        self._is_stopping = False
        self._is_looked_at = False
        self._failure: OSError | None = None
        self._queue: FairQueue[str] = FairQueue()
        self._writer = threading.Thread(target=self._write, name="manyhands-output", daemon=True)

    def __enter__(self) -> Self:
        self._writer.start()
        self._woken_before = signal.set_wakeup_fd(
            self._waker.signal_fileno(), warn_on_full_buffer=False
        )
        return self

    def __exit__(self, *exception: object) -> None:
        signal.set_wakeup_fd(self._woken_before)
        self._queue.close()
        self._writer.join()

    def show(self, lines: Sequence[Shown], source: int | None = None) -> None:
        """Write lines; `source` waits until its last ones are written, and so does who has none."""
        self._queue.put(_OWN if source is None else source, [f"{line}\n" for line in lines])

    def _write(self) -> None:
        """Write lines as they come. Runs in a thread."""
        while self._queue.wait():
            text = "".join(self._queue.take(BATCH))
            if self._failure is None:
                self._try_to_write(text)

    def _try_to_write(self, text: str) -> None:
        try:
            self._output.write(text)
            self._output.flush()
        except OSError as failure:
            # Nobody reads any more. That is for the main thread, which ends the program.
            self._failure = failure
            self.stop()

    def refresh(self) -> None:
        """Have `wait_until` look again."""
        if self._is_looked_at:
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
        self._is_looked_at = True
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
