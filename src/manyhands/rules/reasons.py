"""Why a connection came to its end, or was never served: one reason each, from one enumeration."""

import enum


class Reason(enum.Enum):
    """The one reason for which a connection is in the books as closed.

    The value is the word for logs, metrics and scripts; `sentence` is for people.
    """

    __hash__ = (
        object.__hash__
    )  # that of `Enum` is a function in Python, and a step would take several

    HANDLER_RETURNED = "handler_returned"
    HANDLER_FAILED = "handler_failed"
    PEER_CLOSED = "peer_closed"
    PEER_RESET = "peer_reset"
    IDLE = "idle"
    WRITE_STALLED = "write_stalled"
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
    NO_WORKER = "no_worker"
    KICKED = "kicked"
    DRAINED = "drained"
    CUT_OFF = "cut_off"
    HANDED_OFF = "handed_off"

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
    Reason.PEER_RESET: "the peer reset it",
    Reason.IDLE: "nothing was received for longer than idle_timeout",
    Reason.WRITE_STALLED: "the peer acknowledged nothing for longer than write_timeout",
    Reason.TOO_OLD: "it was older than max_age",
    Reason.HANDSHAKE_FAILED: "the TLS handshake failed",
    Reason.HANDSHAKE_TOO_SLOW: "PROXY header and TLS handshake took longer than handshake_timeout",
    Reason.BAD_PROXY_HEADER: "it did not begin with a valid PROXY header",
    Reason.REFUSED_FULL: "the server had max_connections already",
    Reason.REFUSED_FULL_FOR_ADDRESS: "its address had max_connections_per_ip already",
    Reason.REFUSED_TOO_FAST: "connections came faster than max_rate or max_rate_per_ip",
    Reason.REFUSED_DENIED: "its address is not one that the server serves (allow, deny)",
    Reason.REFUSED_OUT_OF_DESCRIPTORS: "the process had no descriptor left",
    Reason.REFUSED_BY_HOOK: "verify_request refused it, or a hook failed",
    Reason.NO_WORKER: "no thread or process could be had",
    Reason.KICKED: "the program or an operator closed it",
    Reason.DRAINED: "the server was draining",
    Reason.CUT_OFF: "it was still open at the end of the drain",
    Reason.HANDED_OFF: "the handler kept it, or gave it to somebody else",
}

REFUSALS: frozenset[Reason] = frozenset(
    {
        Reason.REFUSED_FULL,
        Reason.REFUSED_FULL_FOR_ADDRESS,
        Reason.REFUSED_TOO_FAST,
        Reason.REFUSED_DENIED,
        Reason.REFUSED_OUT_OF_DESCRIPTORS,
        Reason.REFUSED_BY_HOOK,
        Reason.NO_WORKER,
    }
)
"""The reasons for which a connection was never served."""
