"""The outbox of a connection: whole pieces, from any thread or fiber, none of which waits.

It is also the gate of the connection. A piece that is `put`, and what the handler writes by itself, go out
one after the other in the order in which they came, so that no two of them ever mix.
"""

from functools import partial

from manyhands.connections.outbox_queue import DirectWrite, OutboxQueue
from manyhands.connections.piece_sender import PieceSender
from manyhands.runtime.caller import current_thread_or_fiber
from manyhands.runtime.locks import Condition, holding

LINGER = 5.0
"""Seconds for which a connection that comes to its end waits for a peer that reads nothing."""


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
    interrupts may be in the middle of a send. An exception that a signal's handler raises there, such as
    KeyboardInterrupt, ends this connection, for of the piece it is not known how much has gone out.
    """

    __slots__ = ()

    # For threads and fibers that write by themselves

    def begin_write(self, seconds: float | None, *, goes_on: bool = False) -> DirectWrite | None:
        """Wait until all that came before is sent; then have the connection to oneself until `end_write`.

        Parameters
        ----------
        seconds : float or None
            How long to wait; None: without end.
        goes_on : bool
            Whether to go on with a message that any caller has begun and kept, not only the caller itself.

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
        return holding(self._lock, self._begin_write, seconds, goes_on=goes_on)

    def _begin_write(self, seconds: float | None, *, goes_on: bool) -> DirectWrite | None:
        if self._is_over:
            return None
        caller, kept = current_thread_or_fiber(), self._holder
        if kept is not None and kept.keeper is not None and (goes_on or kept.keeper is caller):
            kept.owner, kept.keeper = caller, None
            return kept
        write = DirectWrite(caller)
        if self._is_clear:
            self._is_clear, self._holder = False, write
            return write
        queue = self._queue = self._queue or OutboxQueue()
        queue.append_write(write)
        is_due = False
        try:
            is_due = self._condition().wait_for(lambda: self._is_due(write), seconds)
        finally:
            if not is_due:
                self._withdraw(write)
        if not is_due:
            raise TimeoutError("timed out")
        return write if self._holder is write else None

    def lets_pass(self) -> bool:
        """Tell whether the caller may write without `begin_write`: it is writing already, or all is over."""
        # Without the lock: the caller alone can make itself the holder, or end that.
        holder = self._holder
        return self._is_over or (holder is not None and holder.owner is current_thread_or_fiber())

    def _is_due(self, write: DirectWrite) -> bool:
        return self._is_over or self._holder is write

    def _withdraw(self, write: DirectWrite) -> None:
        if self._holder is write:
            self._go_on()
        elif self._queue is not None:
            self._queue.withdraw(write)

    def keep_write(self, write: DirectWrite) -> None:
        """Stop in the middle of a message: the caller goes on with it in its next write."""
        holding(self._lock, self._keep_write, write)

    def _keep_write(self, write: DirectWrite) -> None:
        write.owner, write.keeper, write.is_begun = None, write.owner, True

    def end_write(self, write: DirectWrite) -> None:
        """End a write; what has come meanwhile goes out. Once more does no harm."""
        self._locked(self._end_write, write)
        self._tell()

    def _end_write(self, write: DirectWrite) -> None:
        if self._holder is write:
            self._go_on()

    # The end

    def wait_until_sent(self, seconds: float | None = None) -> bool:
        """Wait until nothing waits to be sent, or it is over; return whether that came in time."""
        return holding(self._lock, self._wait_until_sent, seconds)

    def _wait_until_sent(self, seconds: float | None) -> bool:
        if self._is_clear or self._is_over:
            return True
        return self._condition().wait_for(lambda: self._is_clear or self._is_over, seconds)

    def finish(self, seconds: float = LINGER) -> bool:
        """Wait until all is sent, as long as the peer reads; False when it takes nothing for `seconds`.

        Then it is over, and what is left is missed. For the thread, or the fiber, that is about to end the
        connection. At once when it is over.
        """
        return holding(self._lock, self._finish, seconds)

    def _finish(self, seconds: float) -> bool:
        if self._holder is not None and self._holder.keeper is not None:
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
