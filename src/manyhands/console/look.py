"""What is known of a server at one moment, and a look at it: what is shown of it is asked for."""

import contextlib
import time
from dataclasses import dataclass, replace

from manyhands.console.figures import Json, Page, Status, items, mapping, page, status, text
from manyhands.control.client import Client, Hello, Refused

ANSWER_TIMEOUT = 5.0
"""Seconds: a server that is stopped is to be told of soon."""

_RARELY = 60.0
"""Seconds, the longest of the protocol: of what a server tells by itself nothing is shown."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """What a look is to ask for.

    Attributes
    ----------
    connections : mapping
        The parameters of `connections.list`.
    details_of : str or None
        The connection whose details are shown.
    """

    connections: Json
    details_of: str | None = None


@dataclass(frozen=True, slots=True)
class Snapshot:
    """What is known of the server.

    Attributes
    ----------
    session : int
        Which process it is: it rises when another one has taken the place. 0: none was found yet.
    at : float
        When it was looked at, in seconds of a clock that never goes back.
    hello : Hello or None
        What it said first.
    verbs : frozenset of str
        What it can be asked for.
    status : Status or None
        Its figures.
    wanted : Wanted or None
        What was asked for.
    took : float
        How long the server took to list the connections, in seconds.
    page : Page or None
        The connections; None when the server refuses to list them so.
    refusal : str
        Why, in a sentence.
    details : mapping or None
        The details that were asked for.
    ending : str
        Why there are none any more, in a sentence.
    trouble : str
        Why the server is not followed now, in a sentence; ``""`` while it is.
    """

    session: int = 0
    at: float = 0.0
    hello: Hello | None = None
    verbs: frozenset[str] = frozenset()
    status: Status | None = None
    wanted: Wanted | None = None
    took: float = 0.0
    page: Page | None = None
    refusal: str = ""
    details: Json | None = None
    ending: str = ""
    trouble: str = ""


def result_of(client: Client, verb: str, params: Json) -> Json:
    """Carry out a verb; return its result."""
    return mapping(client.request(verb, params, ANSWER_TIMEOUT))


def count_bytes(client: Client) -> None:
    """Have a server add its bytes up, which it does from the first `watch` on."""
    with contextlib.suppress(Refused):
        result_of(client, "watch", {"what": ["stats"], "every": _RARELY})


def verbs_of(client: Client) -> frozenset[str]:
    """Return what a server can be asked for."""
    try:
        told = result_of(client, "verbs", {})
    except Refused:
        return frozenset()
    return frozenset(text(mapping(each).get("name")) for each in items(told.get("items")))


def look(
    client: Client,
    before: Snapshot,
    wanted: Wanted | None,
    *,
    with_status: bool = True,
    with_page: bool = True,
) -> Snapshot:
    """Ask a server for what is shown.

    Parameters
    ----------
    client : Client
        A connection to it.
    before : Snapshot
        What was known.
    wanted : Wanted or None
        Which connections.
    with_status, with_page : bool
        Whether to ask for the figures, and for the connections.

    Raises
    ------
    Lost
        The connection has ended.
    """
    now = replace(before, trouble="")
    if with_status:
        told = result_of(client, "status", {})
        now = replace(now, status=status(told), at=time.monotonic())
    if wanted is None:
        return now
    if with_page:
        now = _with_page(client, now, wanted.connections)
    return _with_details(client, replace(now, wanted=wanted, details=None, ending=""))


def _with_page(client: Client, now: Snapshot, connections: Json) -> Snapshot:
    began = time.monotonic()
    try:
        listed: Page | None = page(result_of(client, "connections.list", connections))
        refusal = ""
    except Refused as refused:
        listed, refusal = None, str(refused)
    return replace(now, page=listed, refusal=refusal, took=time.monotonic() - began)


def _with_details(client: Client, now: Snapshot) -> Snapshot:
    if now.wanted is None or now.wanted.details_of is None:
        return now
    try:
        details = result_of(client, "connections.get", {"id": now.wanted.details_of})
    except Refused as refused:
        return replace(now, ending=str(refused))
    return replace(now, details=details)
