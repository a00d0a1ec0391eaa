"""A connection's life, as a table, and the reasons for which it ends.

A connection is in one state at a time, and only the steps of the table lead on. `TRANSITIONS` is all that
can happen to a connection; the picture in ``docs/connections.md`` is made from it.

Accepted
    The kernel has handed it over, and it was admitted; its worker has not begun.
Reading the PROXY header
    A balancer in front says who the client is (only where `proxy_protocol` is on).
Handshaking
    The TLS handshake is under way (only on TLS listeners). Both openings together have `handshake_timeout`.
Open
    Its handler talks with the client.
Closing
    Its end is decided, by the handler, the peer, a deadline, a person or a drain; its worker comes to an end.
Closed
    It is counted with its reason. There is no way on from here.

Two rules hold. Every connection comes to `CLOSED`, and exactly once. And no state is entered twice: that is
why a connection which is closed for two reasons at the same time has the one that was first.
"""

import enum


class _Word(enum.Enum):
    """One of several words."""

    # That of `Enum` is a function in Python, and each step of a connection would call it several times.
    __hash__ = object.__hash__


class State(_Word):
    """Where a connection is in its life. The value is the word for logs, metrics and scripts."""

    ACCEPTED = "accepted"
    READING_PROXY_HEADER = "reading_proxy_header"
    HANDSHAKING = "handshaking"
    OPEN = "open"
    CLOSING = "closing"
    CLOSED = "closed"


class Step(_Word):
    """What happens to a connection. The value is how the picture names it."""

    PROXY_HEADER_IS_DUE = "a PROXY header is due"
    HANDSHAKE_IS_DUE = "a TLS handshake is due"
    HANDLER_BEGINS = "the handler begins"
    END_IS_DECIDED = "its end is decided"
    WORKER_ENDED = "its worker has ended"


# A worker may end in any state, without a decision before it: the handler returned, or a hook raised.
TRANSITIONS: dict[State, dict[Step, State]] = {
    State.ACCEPTED: {
        Step.PROXY_HEADER_IS_DUE: State.READING_PROXY_HEADER,
        Step.HANDSHAKE_IS_DUE: State.HANDSHAKING,
        Step.HANDLER_BEGINS: State.OPEN,
        Step.END_IS_DECIDED: State.CLOSING,
        Step.WORKER_ENDED: State.CLOSED,
    },
    # The header comes first, in clear text: it is the proxy's, and the handshake is the client's.
    State.READING_PROXY_HEADER: {
        Step.HANDSHAKE_IS_DUE: State.HANDSHAKING,
        Step.HANDLER_BEGINS: State.OPEN,
        Step.END_IS_DECIDED: State.CLOSING,
        Step.WORKER_ENDED: State.CLOSED,
    },
    State.HANDSHAKING: {
        Step.HANDLER_BEGINS: State.OPEN,
        Step.END_IS_DECIDED: State.CLOSING,
        Step.WORKER_ENDED: State.CLOSED,
    },
    State.OPEN: {
        Step.END_IS_DECIDED: State.CLOSING,
        Step.WORKER_ENDED: State.CLOSED,
    },
    # No second decision: the reason is that of the first.
    State.CLOSING: {Step.WORKER_ENDED: State.CLOSED},
    State.CLOSED: {},
}


def picture() -> str:
    """Return the table as a Mermaid state diagram, for the documentation."""
    lines = ["stateDiagram-v2", f"    [*] --> {State.ACCEPTED.value}"]
    lines += [
        f"    {state.value} --> {following.value}: {step.value}"
        for state, steps in TRANSITIONS.items()
        for step, following in steps.items()
    ]
    return "\n".join([*lines, f"    {State.CLOSED.value} --> [*]"])


class Reason(_Word):
    """The one reason for which a connection was closed, or never served.

    The value is the word for logs, metrics and scripts; `sentence` is for people.
    """

    HANDLER_RETURNED = "handler_returned"
    HANDLER_FAILED = "handler_failed"
    PEER_CLOSED = "peer_closed"
    PEER_RESET = "peer_reset"
    IDLE = "idle"
    WRITE_STALLED = "write_stalled"
    DID_NOT_READ = "did_not_read"
    TOO_OLD = "too_old"
    HANDSHAKE_FAILED = "handshake_failed"
    HANDSHAKE_TOO_SLOW = "handshake_too_slow"
    BAD_PROXY_HEADER = "bad_proxy_header"
    REFUSED_FULL = "refused_full"
    REFUSED_FULL_FOR_ADDRESS = "refused_full_for_address"
    REFUSED_TOO_FAST = "refused_too_fast"
    REFUSED_DENIED = "refused_denied"
    REFUSED_OUT_OF_DESCRIPTORS = "refused_out_of_descriptors"
    REFUSED_BY_HOOK = "refused_by_hook"
    REFUSED_STOPPING = "refused_stopping"
    NO_WORKER = "no_worker"
    KICKED = "kicked"
    DRAINED = "drained"
    CUT_OFF = "cut_off"
    HANDED_OFF = "handed_off"
    WORKER_DIED = "worker_died"

    @property
    def sentence(self) -> str:
        """The reason in words, as it follows "the connection was closed: "."""
        return _SENTENCES[self]

    @property
    def is_refusal(self) -> bool:
        """Whether the connection was turned away before any handler saw it, for reasons of the server's."""
        return self in REFUSALS


_SENTENCES: dict[Reason, str] = {
    Reason.HANDLER_RETURNED: "its handler returned",
    Reason.HANDLER_FAILED: "its handler failed",
    Reason.PEER_CLOSED: "the peer closed it",
    Reason.PEER_RESET: "the peer reset it, or broke off its TLS session",
    Reason.IDLE: "nothing was received for longer than idle_timeout",
    Reason.WRITE_STALLED: "the peer acknowledged nothing for longer than write_timeout",
    Reason.DID_NOT_READ: "more waited for the peer to read than outbox allows",
    Reason.TOO_OLD: "it was older than max_age",
    Reason.HANDSHAKE_FAILED: "the TLS handshake failed",
    Reason.HANDSHAKE_TOO_SLOW: "PROXY header and TLS handshake took longer than handshake_timeout",
    Reason.BAD_PROXY_HEADER: "it did not begin with a valid PROXY header",
    Reason.REFUSED_FULL: "the server had max_connections (or max_datagrams) already",
    Reason.REFUSED_FULL_FOR_ADDRESS: "its address had max_connections_per_ip already",
    Reason.REFUSED_TOO_FAST: "connections came faster than max_rate or max_rate_per_ip",
    Reason.REFUSED_DENIED: "its address is not one that the server serves (allow, deny)",
    Reason.REFUSED_OUT_OF_DESCRIPTORS: "the process had no descriptor left",
    Reason.REFUSED_BY_HOOK: "verify_request refused it, or a hook failed",
    Reason.REFUSED_STOPPING: "the server stopped before its turn came",
    Reason.NO_WORKER: "no thread or process could be had",
    Reason.KICKED: "the program or an operator closed it",
    Reason.DRAINED: "the server was draining",
    Reason.CUT_OFF: "it was still open at the end of the drain",
    Reason.HANDED_OFF: "the handler kept it, or gave it away",
    Reason.WORKER_DIED: "the process of its worker died, or was ended",
}

REFUSALS: frozenset[Reason] = frozenset(
    {
        Reason.REFUSED_FULL,
        Reason.REFUSED_FULL_FOR_ADDRESS,
        Reason.REFUSED_TOO_FAST,
        Reason.REFUSED_DENIED,
        Reason.REFUSED_OUT_OF_DESCRIPTORS,
        Reason.REFUSED_BY_HOOK,
        Reason.REFUSED_STOPPING,
        Reason.NO_WORKER,
    }
)
"""The reasons for which a connection was never served."""
