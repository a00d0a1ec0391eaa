"""Which servers of this user there are, which one is meant, and where it is after it was started again."""

import time
from collections.abc import Sequence
from typing import NamedTuple

from manyhands.control import places
from manyhands.control.client import Client, Hello
from manyhands.control.client_socket import Unreachable
from manyhands.model.escaping import escape
from manyhands.model.usage_errors import Mistake

LOOK_TIMEOUT = 2.0
"""Seconds for all servers together to say hello, when they are looked for."""

FIRST_PAUSE, LONGEST_PAUSE = 0.25, 2.0
"""Seconds between two looks for a server that has ended: at first, and once it stays away."""

_HOW = "manyhands serve, run and chat make one there"

NONE_THERE = f"no server of yours has a control socket in the usual places ({_HOW})"
"""What is so where no server is found."""


class Found(NamedTuple):
    """A control socket of one of this user's servers.

    Attributes
    ----------
    place : Place
        Where it is.
    client : Client or None
        A connection to the server; None where it cannot be spoken with.
    why_not : str
        Why not, in a sentence; ``""`` otherwise.
    """

    place: places.Place
    client: Client | None
    why_not: str = ""

    @property
    def name(self) -> str:
        """The place, and how the server there was started: one line."""
        if self.client is None:
            return f"{escape(self.place.text)} (process {self.place.pid}, which does not answer)"
        return f"{escape(self.place.text)} ({self.client.hello})"


def servers(timeout: float | None = None) -> list[Found]:
    """Connect to all servers of this user, of root to all; remove what servers have left that are gone.

    Only those in the places that servers choose by themselves (`places.defaults`).

    Parameters
    ----------
    timeout : float, optional
        Seconds for all of them together, two by default. One that has said nothing by then is in the list
        without a client.

    Returns
    -------
    list of Found
        In the order of their processes. The caller closes their clients.
    """
    deadline = time.monotonic() + (LOOK_TIMEOUT if timeout is None else timeout)
    found = (_looked_at(place, deadline) for place in places.find())
    return [each for each in found if each is not None]


def _looked_at(place: places.Place, deadline: float) -> Found | None:
    try:
        client = Client(place.text, max(0.1, deadline - time.monotonic()))
    except Unreachable as problem:
        if problem.is_gone:
            places.remove_dead(place)
            return None
        return Found(place, None, str(problem))
    if client.user in {None, place.uid}:
        return Found(place, client)
    # An abstract name is there for any user to take.
    client.close()
    return None


def choose(text: str | None = None) -> Client:
    """Connect to the server that is meant.

    Parameters
    ----------
    text : str, optional
        A place, or the number of a process that has a socket in one of the default places. Without it the
        user's only server is meant.

    Raises
    ------
    Mistake
        The text is no place; or there are several servers, which are named then.
    Unreachable
        There is no such server.
    """
    if text is not None and not _is_number(text):
        return Client(places.given(text))
    found = [each for each in servers() if text is None or each.place.pid == int(text)]
    answering = [each.client for each in found if each.client is not None]
    if len(answering) == 1:
        return answering[0]
    for client in answering:
        client.close()
    if answering:
        names = "; ".join(each.name for each in found)
        raise Mistake(
            f"there are {len(found)} servers, and --control says which one is meant, by its place or its "
            f"process: {names}"
        )
    raise Unreachable(_why_none(found, text))


def _is_number(text: str) -> bool:
    # One that no process has is looked for in vain.
    return text.isascii() and text.isdecimal() and len(text) <= 10


def _why_none(found: Sequence[Found], text: str | None) -> str:
    if found:
        return "; ".join(each.why_not for each in found)
    if text is not None:
        return f"process {text} has no control socket in the usual places ({_HOW})"
    return NONE_THERE


class Follower:
    """Finds a server, and finds it again when it was started anew. For one thread at a time.

    The second time it has another process, and so may have another place: then it is the one that was
    started in the same way, and since.

    Parameters
    ----------
    text : str, optional
        As of `choose`.
    """

    def __init__(self, text: str | None = None) -> None:
        self._text = text
        self._hello: Hello | None = None
        self._failures = 0

    def connect(self) -> Client:
        """Try once to connect to the server.

        Raises
        ------
        Mistake
            As of `choose`.
        Unreachable
            It is not there, or not there again; the sentence says so.
        """
        try:
            client = choose(self._text) if self._hello is None else self._again(self._hello)
        except Unreachable:
            self._failures += 1
            raise
        self._hello, self._failures = client.hello, 0
        return client

    @property
    def pause(self) -> float:
        """Seconds to wait before the next try, longer after each one that failed."""
        return min(LONGEST_PAUSE, FIRST_PAUSE * float(2 ** min(self._failures, 8)))

    def _again(self, before: Hello) -> Client:
        """Connect to the same process, or to what was started in its place."""
        if self._text is not None and not _is_number(self._text):
            return Client(places.given(self._text))
        clients = [each.client for each in servers() if each.client is not None]
        # Of several the one that was started last.
        heirs = [client for client in clients if _follows(client.hello, before)]
        heir = max(heirs, key=lambda client: client.hello.started, default=None)
        for client in clients:
            if client is not heir:
                client.close()
        if heir is None:
            raise Unreachable(f"the server ({before}) has ended, and is not back yet")
        return heir


def _follows(hello: Hello, before: Hello) -> bool:
    is_same = hello.pid == before.pid and hello.started == before.started
    return is_same or (hello.name == before.name and hello.started > before.started)
