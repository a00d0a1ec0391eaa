"""The outbox of a connection: whole pieces, from any thread or fiber, none of which waits.

It is also the gate of the connection. A piece that is `put`, and what the handler writes by itself, go out
one after the other in the order in which they came, so that no two of them ever mix.
"""

from collections.abc import Callable
from functools import partial
from typing import TypeVar

from manyhands.connections.outbox_queue import DirectWrite, OutboxQueue
from manyhands.connections.piece_sender import HELD, REENTERED, PieceSender
from manyhands.runtime.caller import current_thread_or_fiber
from manyhands.runtime.locks import Condition, is_held_here

Result = TypeVar("Result")

LINGER = 5.0
"""Seconds for which a connection that comes to its end waits for a peer that reads nothing."""


TOO_LATE = DirectWrite(None)
"""In the place of a write whose turn has not come in time."""


class Outbox(PieceSender):
    """Sends pieces in their order, at once or as fast as the peer reads, and lets writers in between them.

    Parameters
    ----------
    send : outbox_terms.Send
        What sends on the connection without waiting.
    descriptor : int
        The connection's descriptor.
    terms : Terms
        What it goes by, and whom it tells.
    keeps_attempts : bool
        Whether a send that took nothing has to be tried again with the same data (SSL_write(3)).
    is_held : bool
        Whether all that is put waits until `release`.

    Notes
    -----
    Thread-safe, for fibers too. Not for signal handlers, nor for finalizers (`__del__`): the code that one
    interrupts may be in the middle of a send, and then it gets a `RuntimeError`. An exception that a signal's
    handler raises there, such as KeyboardInterrupt, ends this connection, for of the piece it is not known
    how much has gone out. At another moment it changes nothing.
    """

    __slots__ = ()

    # For threads and fibers that write by themselves

    def write_by(self, write: Callable[[], Result], seconds: float | None) -> Result:
        """Call what writes while the caller has the connection: at once, if it has it already.

        Raises
        ------
        TimeoutError
            When it could not have it within `seconds`.
        """
        if self.lets_pass():
            return write()
        try:
            # Within the `try`: what a signal's handler raises may come at every step.
            begun = self.begin_write(seconds)
            try:
                return write()
            finally:
                if begun is not None:
                    self.end_write(begun)
        except BaseException:
            self.abandon_write()  # if the exception came too early for that, or in its middle
            raise

    def begin_write(self, seconds: float | None) -> DirectWrite | None:
        """Wait until all that came before is sent; then have the connection to oneself until `end_write`.

        A message that any caller has begun and kept is gone on with.

        Parameters
        ----------
        seconds : float or None
            How long to wait; None: without end.

        Returns
        -------
        DirectWrite or None
            None where the caller is writing already, and where the connection is over.

        Raises
        ------
        TimeoutError
            After `seconds`.
        """
        if self.lets_pass():
            return None
        if self._is_changing and is_held_here(self._lock):
            raise RuntimeError(REENTERED)
        try:
            begun = self._locked(self._begin_write, seconds)
        except BaseException:
            self.abandon_write()
            raise
        if begun is TOO_LATE:
            raise TimeoutError("timed out")
        return begun

    def _begin_write(self, seconds: float | None) -> DirectWrite | None:
        write = DirectWrite(current_thread_or_fiber())
        if self._is_clear:
            # In this order: `abandon_write` finds it there.
            self._holder = write
            self._is_clear = False
            return write
        if not self._is_due(write):
            if self._queue is None:
                self._queue = OutboxQueue()
            self._queue.append_write(write)
            if not self._condition().wait_for(partial(self._is_due, write), seconds):
                self._withdraw(write.owner)
                return TOO_LATE
        if self._is_kept and self._holder is not None:
            self._withdraw(write.owner)
            self._holder.owner = write.owner
            return self._holder
        return write if self._holder is write else None

    def _is_due(self, write: DirectWrite) -> bool:
        return self._is_over or self._holder is write or self._is_kept

    @property
    def _is_kept(self) -> bool:
        """Whether a message is begun, and its next part is not being written just now."""
        holder = self._holder
        return holder is not None and holder is not HELD and holder.owner is None

    def lets_pass(self) -> bool:
        """Tell whether the caller may write without `begin_write`: it is writing already, or all is over."""
        # Without the lock: the caller alone can make itself the holder, or end that.
        holder = self._holder
        return self._is_over or (holder is not None and holder.owner is current_thread_or_fiber())

    def keep_write(self, write: DirectWrite) -> None:
        """Stop in the middle of a message: the next write, of whichever caller, goes on with it."""
        self._locked(self._keep_write, write)

    def _keep_write(self, write: DirectWrite) -> None:
        write.is_begun, write.owner = True, None
        # Of those that wait one has it: the caller may never send the rest.
        self._notify()

    def end_write(self, write: DirectWrite) -> None:
        """End a write; what has come meanwhile goes out. Once more does no harm."""
        self._locked(self._end_write, write)
        self._tell()

    def _end_write(self, write: DirectWrite) -> None:
        if self._holder is write:
            self._go_on()

    def abandon_write(self) -> None:
        """End what the caller writes, or waits to write, whichever it is: for an exception."""
        self._locked(self._abandon_write)
        self._tell()

    def _abandon_write(self) -> None:
        caller = current_thread_or_fiber()
        self._withdraw(caller)
        if self._holder is not None and self._holder.owner is caller:
            self._go_on()

    def _withdraw(self, owner: object) -> None:
        if self._queue is not None:
            self._queue.withdraw(owner)

    # The end

    def wait_until_sent(self, seconds: float | None = None) -> bool:
        """Wait until nothing waits to be sent, or it is over; return whether that came in time."""
        return self._locked(self._wait_until_sent, seconds)

    def _wait_until_sent(self, seconds: float | None) -> bool:
        if self._is_clear or self._is_over:
            return True
        return self._condition().wait_for(lambda: self._is_clear or self._is_over, seconds)

    def finish(self, seconds: float = LINGER) -> bool:
        """Wait until all is sent, as long as the peer reads; False when it takes nothing for `seconds`.

        Then it is over, and what is left is missed. For the thread, or the fiber, that is about to end the
        connection. At once when it is over.
        """
        return self._locked(self._finish, seconds)

    def _finish(self, seconds: float) -> bool:
        if self._is_kept:
            self._go_on()  # what was begun is not ended any more
        left = self.waiting + 2
        while left > self._left():
            left = self._left()
            if not left:
                return True
            self._condition().wait_for(partial(self._has_less_than, left), seconds)
        self._drop()
        return False

    def _left(self) -> int:
        """Return the bytes that wait, one more while another one writes; 0 when it is over."""
        return 0 if self._is_clear or self._is_over else self.waiting + 1

    def _has_less_than(self, left: int) -> bool:
        return self._left() < left

    @property
    def is_waited_for(self) -> bool:
        """Whether a thread or a fiber waits for its turn to write, or for the end of what is sent."""
        return self._changed is not None and self._changed.has_waiters

    def _condition(self) -> Condition:
        if self._changed is None:
            self._changed = Condition(self._lock)
        return self._changed
