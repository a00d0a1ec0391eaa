"""What a person at the desk sees: lines, the screens that show them, and the queue between the two."""

import errno
import io
import os
import select
import signal
import sys
import threading
from collections import OrderedDict, deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Generic, Protocol, Self, TextIO, TypeVar

from manyhands.desk.encodings import of_standard_input
from manyhands.desk.messages import LineTooLong, MessageDecoder
from manyhands.desk.output import PlainOutput
from manyhands.model.escaping import escape
from manyhands.model.usage_errors import Mistake
from manyhands.runtime.locks import Condition
from manyhands.runtime.unpatched import brief_lock
from manyhands.runtime.wakeup import WakeUp, put_back_wakeup_fd


@dataclass(frozen=True, slots=True)
class ScreenLine:
    """One line on a screen, safe to print: everything from outside is escaped.

    Attributes
    ----------
    label : str
        The caller that it is from or about; ``""`` for the desk itself.
    text : str
        The line.
    number : int or None
        The caller's number, after which the label is coloured.
    is_said : bool
        Whether a caller or the operator said it; else it is the desk's word.
    is_own : bool
        Whether it was said by the person at this screen.
    """

    label: str
    text: str
    number: int | None = None
    is_said: bool = False
    is_own: bool = False

    def __str__(self) -> str:
        if not self.is_said:
            return f"-- {self.text}"
        return f"[{self.label}] {self.text}" if self.label else self.text


def notice(text: str, number: int | None = None) -> ScreenLine:
    """Make a line about the desk or, with a number, about a caller."""
    return ScreenLine("", escape(text), number)


class Screen(Protocol):
    """Where a person sees lines.

    Notes
    -----
    All methods may be called from any thread.
    """

    def show(self, lines: Sequence[ScreenLine], source: int | None = None) -> None:
        """Show lines, in order. May wait for the screen, but never on account of another source's lines.

        Parameters
        ----------
        lines : sequence of ScreenLine
            What to show.
        source : int or None
            The number of the call that they come from: its thread waits until the screen has caught up with
            what it showed before. None: the operator's own thread.
        """

    def show_soon(self, lines: Sequence[ScreenLine], source: int) -> None:
        """Show lines of a call, in order, without waiting. The caller sees to it that few of them wait."""

    def when_caught_up(self, source: int, then: Callable[[], object]) -> None:
        """Call `then` once the screen has caught up with a call: at once, or in a thread of the screen's.

        It must not wait there.
        """

    def tell(self, lines: Sequence[ScreenLine]) -> None:
        """Show lines without ever waiting for the screen; drop them when too many wait for it."""

    def refresh(self) -> None:
        """Note that callers came, went, or changed: what the prompt shows of them is out of date."""

    def is_typing(self) -> bool:
        """Tell whether the operator is in the middle of a line."""


class Keyboard(Screen, Protocol):
    """A screen with a keyboard; a context, at whose end everything has been shown."""

    def __enter__(self) -> Self: ...

    def __exit__(self, *exception: object) -> None: ...

    def attend(self, carry_out: Callable[[str], bool]) -> bool:
        """Carry out lines until one returns False, or `stop`.

        Returns
        -------
        bool
            Whether the input has ended by itself.
        """

    def stop(self) -> None:
        """Make `attend` return. Safe in any thread and in signal handlers."""


Item = TypeVar("Item")

MOST_OFFERED = 1000
"""Items of one source that may wait where the source does not."""

TURN = 20
"""Items that one source may have taken before it is the next one's turn."""


class _Batch(Generic[Item]):
    """What one source has waiting. Its next batch waits for the end of this one, not of all others."""

    __slots__ = ("is_taken", "items", "then")

    def __init__(self, lock: threading.Lock) -> None:
        self.items: deque[Item] = deque()
        self.is_taken = Condition(lock)
        self.then: list[Callable[[], object]] = []
        """What is called when all is taken."""


class FairQueue(Generic[Item]):
    """A bounded queue with many sources and one reader, so that a flood of one source delays no other.

    Each source may have one batch waiting: with the next one it waits until the reader has caught up. So the
    queue holds at most one batch for each source. Items of one source stay in order.

    Notes
    -----
    Thread-safe, and fibers may wait in it.
    """

    def __init__(self) -> None:
        self._lock = brief_lock()
        self._filled = Condition(self._lock)
        self._waiting: OrderedDict[int | None, _Batch[Item]] = OrderedDict()
        self._is_closed = False

    def put(self, source: int | None, batch: Sequence[Item]) -> None:
        """Add a batch; wait while another one of the same source is there, unless the source is None."""
        with self._lock:
            if batch and source is not None:
                self._wait_for_turn(source)
            self._add(source, batch)

    def _add(self, source: int | None, batch: Sequence[Item]) -> None:
        # A batch that is in the queue has items: what waits for its end waits until it has been taken.
        if batch:
            waiting = self._waiting.get(source)
            if waiting is None:
                waiting = self._waiting[source] = _Batch(self._lock)
            waiting.items.extend(batch)
            self._filled.notify_all()

    def put_soon(self, source: int, batch: Sequence[Item]) -> None:
        """Add a batch without waiting, to those of the same source that wait."""
        with self._lock:
            self._add(source, batch)

    def when_taken(self, source: int, then: Callable[[], object]) -> None:
        """Call `then`, which must not wait, once nothing of a source waits: at once, or by the reader."""
        with self._lock:
            waiting = None if self._is_closed else self._waiting.get(source)
            if waiting is not None:
                waiting.then.append(then)
        if waiting is None:
            then()

    def offer(self, source: int, batch: Sequence[Item]) -> None:
        """Add a batch without waiting, unless `MOST_OFFERED` items of its source wait: then drop it."""
        with self._lock:
            waiting = self._waiting.get(source)
            if waiting is None or len(waiting.items) < MOST_OFFERED:
                self._add(source, batch)

    def _wait_for_turn(self, source: int) -> None:
        # A loop: another thread of the same source may have been quicker when this one wakes.
        while (waiting := self._waiting.get(source)) is not None and not self._is_closed:
            waiting.is_taken.wait_for(partial(self._is_through_with, source, waiting))

    def _is_through_with(self, source: int, batch: _Batch[Item]) -> bool:
        # The condition of the loop above, for one batch. Any other would have the loop spin with the lock.
        return self._is_closed or self._waiting.get(source) is not batch

    def take(self, at_most: int) -> list[Item]:
        """Take the next items, a few of each source in turns; none when the queue is empty."""
        taken: list[Item] = []
        then: list[Callable[[], object]] = []
        with self._lock:
            while self._waiting and len(taken) < at_most:
                # The source that has waited longest; with what is left of its batch it goes to the end.
                source, batch = self._waiting.popitem(last=False)
                turn = min(TURN, len(batch.items), at_most - len(taken))
                taken += [batch.items.popleft() for _ in range(turn)]
                if batch.items:
                    self._waiting[source] = batch
                else:
                    batch.is_taken.notify_all()
                    then += batch.then
        for act in then:
            act()
        return taken

    def wait(self) -> bool:
        """Wait until there is something to take; False when there is nothing, and the queue is closed."""
        with self._lock:
            self._filled.wait_for(lambda: self._waiting or self._is_closed)
            return bool(self._waiting)

    def close(self) -> None:
        """End all waits, now and later."""
        with self._lock:
            self._is_closed = True
            self._filled.notify_all()
            then = []
            for batch in self._waiting.values():
                batch.is_taken.notify_all()
                then += batch.then
                batch.then = []
        for act in then:
            act()


LONGEST_ORDER = 1024 * 1024
"""Bytes of one line on standard input: the operator is trusted, a runaway file is not."""

MOST_WRITTEN = 500
"""Lines of one write: more at once would be no cheaper."""

SERVER = -2
"""The source of what the server and the transcript tell the operator. Neither may wait for a screen."""

_OPERATOR = -1
"""The source of lines that are no caller's. A script that gives orders and reads nothing has to wait, too."""


class PlainScreen:
    """Writes what the operator is to see, and reads what the operator types, line by line.

    Parameters
    ----------
    keyboard : int
        The descriptor to read from.
    output : TextIO
        Where to write. A thread of its own writes, since the reader may be slow.
    may_lose : bool
        Whether lines for which a disk has no room are dropped and counted; else they end the command.

    Notes
    -----
    `show`, `refresh` and `stop` may be called from any thread, `stop` from signal handlers too; the rest
    belongs to the main thread. Leaving the context writes what still waits.
    """

    def __init__(self, keyboard: int, output: TextIO, *, may_lose: bool = False) -> None:
        self._keyboard = keyboard
        self._output = PlainOutput(output, may_lose=may_lose)
        self._wake_up = WakeUp()
        self._is_stopping = False
        self._is_looked_at = False
        self._failure: OSError | None = None
        self._queue: FairQueue[str] = FairQueue()
        self._writer = threading.Thread(target=self._write, name="manyhands-output", daemon=True)

    @classmethod
    def on_standard_streams(cls, *, may_lose: bool = False) -> Self:
        """Return a screen on standard input and output."""
        # In a program that was started with them closed these are None.
        keyboard = sys.stdin.fileno() if sys.stdin else os.open(os.devnull, os.O_RDONLY)
        return cls(keyboard, sys.stdout or io.StringIO(), may_lose=may_lose)

    def __enter__(self) -> Self:
        self._writer.start()
        # A signal that another thread of the system receives has to wake the poll of this one.
        self._woken_before = signal.set_wakeup_fd(
            self._wake_up.signal_fileno(), warn_on_full_buffer=False
        )
        return self

    def __exit__(self, *exception: object) -> None:
        put_back_wakeup_fd(self._woken_before)
        # The writer ends when it has written what waits.
        self._queue.close()
        self._writer.join()
        self._output.close()

    def show(self, lines: Sequence[ScreenLine], source: int | None = None) -> None:
        """Write lines; the caller waits until the last lines of the same source are written."""
        self._queue.put(_OPERATOR if source is None else source, [f"{line}\n" for line in lines])

    def show_soon(self, lines: Sequence[ScreenLine], source: int) -> None:
        """Write lines of a call, without waiting."""
        self._queue.put_soon(source, [f"{line}\n" for line in lines])

    def when_caught_up(self, source: int, then: Callable[[], object]) -> None:
        """Call `then` once the lines of a call have been taken to be written."""
        self._queue.when_taken(source, then)

    def _write(self) -> None:
        """Write lines as they come. Runs in a thread."""
        while self._queue.wait():
            text = "".join(self._queue.take(MOST_WRITTEN))
            if self._failure is None:
                self._try_to_write(text)

    def _try_to_write(self, text: str) -> None:
        try:
            self._output.write(text)
        except OSError as failure:
            # The reader has gone (EPIPE). The main thread raises it, and so ends the
            # program; until then lines are taken and dropped, for a call must not wait for a writer.
            self._failure = failure
            self.stop()

    def tell(self, lines: Sequence[ScreenLine]) -> None:
        """Write lines, without waiting."""
        self._queue.offer(SERVER, [f"{line}\n" for line in lines])

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
        decoder.encoding = of_standard_input()
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
        self._wake_up.wait_until(lambda: condition() or self._is_over())

    def _packets(self) -> Iterator[bytes]:
        poll = select.poll()
        poll.register(self._keyboard, select.POLLIN)
        poll.register(self._wake_up, select.POLLIN)
        while not self._is_over():
            ready = [descriptor for descriptor, _ in poll.poll()]
            # First the wake-ups, then the flag: one that comes in between wakes the next poll.
            self._wake_up.drain()
            if self._keyboard in ready and not self._is_over():
                data = self._read()
                if data == b"":
                    return
                yield data or b""

    def _read(self) -> bytes | None:
        """Read from standard input; None when there is nothing now, and b"" at its end."""
        try:
            return os.read(self._keyboard, select.PIPE_BUF)
        except BlockingIOError:
            return None  # another program reads it as well, and was quicker
        except OSError as error:
            if error.errno == errno.EIO:
                raise  # the terminal has been closed
            # A connection that was reset, or a file that was not opened to be read, has nothing more to say.
            self.tell([notice(f"standard input cannot be read: {error.strerror}")])
            return b""

    def _is_over(self) -> bool:
        if self._failure is not None:
            raise self._failure
        return self._is_stopping
