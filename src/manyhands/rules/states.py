"""A connection's life, as a table.

A connection is in one state at a time, and only the steps of the table lead on. Whoever looks for what can
happen to a connection reads `TRANSITIONS`; the picture in ``docs/connections.md`` is made from it.

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
    It is in the books with its reason. There is no way on from here.

Two rules hold. Every connection comes to `CLOSED`, and exactly once. And no state is entered twice: that is
why a connection which is closed for two reasons at the same time has the one that was first.
"""

import enum


class State(enum.Enum):
    """Where a connection is in its life. The value is the word for logs, metrics and scripts."""

    __hash__ = (
        object.__hash__
    )  # that of `Enum` is a function in Python, and a step would take several

    ACCEPTED = "accepted"
    READING_PROXY_HEADER = "reading_proxy_header"
    HANDSHAKING = "handshaking"
    OPEN = "open"
    CLOSING = "closing"
    CLOSED = "closed"


class Step(enum.Enum):
    """What happens to a connection. The value is how the picture names it."""

    __hash__ = (
        object.__hash__
    )  # that of `Enum` is a function in Python, and a step would take several

    PROXY_HEADER_IS_DUE = "a PROXY header is due"
    HANDSHAKE_IS_DUE = "a TLS handshake is due"
    HANDLER_BEGINS = "the handler begins"
    END_IS_DECIDED = "its end is decided"
    WORKER_ENDED = "its worker has ended"


TRANSITIONS: dict[State, dict[Step, State]] = {
    State.ACCEPTED: {
        Step.PROXY_HEADER_IS_DUE: State.READING_PROXY_HEADER,
        Step.HANDSHAKE_IS_DUE: State.HANDSHAKING,
        Step.HANDLER_BEGINS: State.OPEN,
        Step.END_IS_DECIDED: State.CLOSING,
        Step.WORKER_ENDED: State.CLOSED,
    },
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
