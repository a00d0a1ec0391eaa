"""How clients and refusals read in the texts of events."""

from collections.abc import Mapping
from dataclasses import dataclass

from manyhands.model.connection_states import Reason
from manyhands.model.event_hub import PEERS_NAMED
from manyhands.model.socket_addresses import format_address


def named(peers: tuple[object, ...]) -> str:
    """Name the first few clients, by their addresses."""
    more = ", ..." if len(peers) == PEERS_NAMED else ""
    return f"{', '.join(map(_peer, peers))}{more}"


def _peer(client_address: object) -> str:
    return format_address(client_address) if client_address else "a Unix socket"


def counted(count: int, what: str) -> str:
    """Return how many of something there are."""
    return f"1 {what}" if count == 1 else f"{count} {what}s"


@dataclass(frozen=True, slots=True)
class RefusalSummary:
    """What was refused in a while; its text is a sentence for people.

    Attributes
    ----------
    counts : mapping of Reason to int
        How many, by reason, the most frequent first.
    peers : tuple of object
        The addresses of the first few clients, no host twice.
    since : float
        When the first of them was refused, in seconds since 1970.
    seconds : float
        For how long this has been going on, up to the summary.
    what : str
        What was refused: ``"connection"`` or ``"datagram"``.
    """

    counts: Mapping[Reason, int]
    peers: tuple[object, ...]
    since: float
    seconds: float
    what: str = "connection"

    @property
    def total(self) -> int:
        """How many were refused."""
        return sum(self.counts.values())

    def __str__(self) -> str:
        refused = f"refused 1 {self.what}"
        if self.total > 1:
            refused = f"refused {self.total} {self.what}s within {self.seconds:.1f} s"
        peers = f" from {named(self.peers)}" if self.peers else ""
        return f"{refused}{peers}: {self._reasons()}"

    def _reasons(self) -> str:
        if len(self.counts) == 1:
            return next(iter(self.counts)).sentence
        return "; ".join(f"{reason.sentence} ({count})" for reason, count in self.counts.items())
