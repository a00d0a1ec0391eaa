"""How a connection ends from outside: closed, expired, cut off; and which of several decisions counts."""

import contextlib
import socket
from typing import TYPE_CHECKING

from manyhands.connections.closing import can_send_close_notify, half_close, reset_at_close
from manyhands.connections.facts import ConnectionFacts, KeptCopy
from manyhands.connections.subscriptions import end_subscriptions_soon
from manyhands.model.connection_states import TRANSITIONS, Reason, State, Step

if TYPE_CHECKING:
    from manyhands.engines.engine import Engine, Task

_decisions: dict[int, tuple[Reason]] = {}
"""What was decided on ends from outside, by the connection's number, until that has ended.

Of several that decide at once, `setdefault` and `pop` tell which came first: each is one step, also without
the interpreter lock, and waits for nothing. A lock would not do: programs kick clients in signal handlers.
"""

_NOT_READ = frozenset({Reason.WRITE_STALLED, Reason.DID_NOT_READ})
"""The reasons of ends with a peer that takes nothing any more."""

_AT_AN_END = frozenset({State.CLOSING, State.CLOSED})


class EndableConnection(ConnectionFacts):
    """The half of a connection that others than its worker bring to an end. Thread-safe.

    Nothing here waits, or takes a lock: programs kick clients in signal handlers.
    """

    __slots__ = ("engine", "reason", "state")

    engine: "Engine"

    @property
    def task(self) -> "Task":
        """What its engine carries."""
        raise NotImplementedError

    def take(self, step: Step) -> bool:
        """Go on to the next state; return False when the step leads nowhere from here."""
        following = TRANSITIONS[self.state].get(step)
        if following is None:
            return False
        self.state = following
        if self.reason is None or following in _AT_AN_END:
            return True
        # Between these two steps another thread has decided the end; it notes the reason first.
        self.state = State.CLOSING
        return False

    def close(self, reason: Reason = Reason.KICKED) -> bool:
        """End the connection under its handler: whatever that waits for on it comes to an end.

        Thread-safe; returns at once.

        Returns
        -------
        bool
            False when its end was decided before.
        """
        if not self._decide_end(reason):
            return False
        self.engine.end(self.task)
        return True

    def give_away(self) -> bool:
        """Note that another process goes on with it; return False when its end was decided before."""
        return self._decide_end(Reason.HANDED_OFF)

    def decide_end(self, reason: Reason) -> None:
        """Note why the connection is about to be ended, unless that is decided."""
        if self.is_registered:
            self._decide_end(reason)

    def _decide_end(self, reason: Reason) -> bool:
        if self.reason is not None or Step.END_IS_DECIDED not in TRANSITIONS[self.state]:
            return False
        decision = (reason,)
        if _decisions.setdefault(self.number, decision) is not decision:
            return False
        if self.state is State.CLOSED and _decisions.pop(self.number, None) is decision:
            return False  # its worker has just ended it, for a reason of its own
        # The worker, which may be about to call the handler, looks for a reason once it has taken that step.
        self.reason = reason
        self.take(Step.END_IS_DECIDED)
        if self.number not in _decisions:
            self.state = State.CLOSED  # it has ended meanwhile, for this reason
        return True

    def conclude(self) -> Reason:
        """Come to the last state; return why it ended. For the registry, and once."""
        self.state = State.CLOSED  # the step is one from every state
        # After the state: a decision that comes too late finds it.
        decision = _decisions.pop(self.number, None)
        if decision is not None:
            (self.reason,) = decision
            self.state = State.CLOSED  # for what decided it went on to another state meanwhile
        return self.reason or Reason.HANDLER_RETURNED

    def forget_decision(self) -> None:
        """Forget what was decided: it is in no registry, which would conclude it."""
        _decisions.pop(self.number, None)

    def expire(self, reason: Reason) -> bool:
        """End the connection since its time is over, as `close` does, but let its worker unwind.

        On TLS only what is received ends, unless nothing can be sent either: see `insist`.

        Returns
        -------
        bool
            False when its end was decided before.
        """
        if not self._decide_end(reason):
            return False
        if reason in _NOT_READ:
            # The kernel would go on offering the peer what it does not take.
            reset_at_close(self.request)
        self._ask_worker_to_end()
        return True

    def _ask_worker_to_end(self) -> None:
        if self._worker_sends_close_notify():
            self.end_input()
        else:
            self.engine.ask_to_end(self.task)

    def insist(self) -> None:
        """End what is left of a connection that has expired, and goes on."""
        if self._worker_sends_close_notify():
            self.engine.ask_to_end(self.task)

    def _worker_sends_close_notify(self) -> bool:
        """Tell whether its worker has close_notify to send, and can: TLS is for the worker alone."""
        if self.reason in _NOT_READ:
            return False
        request = self.request
        return (
            request.can_send_close_notify
            if isinstance(request, KeptCopy)
            else can_send_close_notify(request)
        )

    def cut_off(self) -> None:
        """Shut the connection down, so that whatever its handler waits for there ends."""
        # Closed meanwhile, or a datagram's pair, which has nothing to shut down.
        with contextlib.suppress(OSError, AttributeError):
            self.request.shutdown(socket.SHUT_RDWR)
        # After that: a handler that goes on sends its client nothing more.
        end_subscriptions_soon(self)

    def end_input(self) -> None:
        """Have its handler read an end of file once it has read what is there; its answers still go out."""
        end_subscriptions_soon(self)
        half_close(self.request)
