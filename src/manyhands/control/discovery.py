"""Which servers of this user there are, which one is meant, and where it is after it was started again."""

import time
from collections.abc import Sequence
from datetime import datetime
from typing import NamedTuple

from manyhands.control import places
from manyhands.control.client import Client, Hello, Lost, Refused
from manyhands.control.client_socket import ClientSocket, Unreachable
from manyhands.model.escaping import escape
from manyhands.model.usage_errors import Mistake

LOOK_TIMEOUT = 2.0
"""Seconds for all servers together to say hello, when they are looked for."""

FIRST_PAUSE, LONGEST_PAUSE = 0.25, 2.0
"""Seconds between two looks for a server that has ended: at first, and once it stays away."""

NOTICED_WITHIN = 2.0
"""Seconds in which the end of a server is noticed: what was started earlier is no new start of it."""

_HOW = "manyhands serve, run and chat make one there; one that is elsewhere is told with --control PATH"

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
    # All are called before one is waited for: a server may be stopped, and any user may take an abstract
    # name, and let its callers wait.
    called = [(place, _called(place)) for place in places.find()]
    places.remove_dead(place for place, call in called if _is_gone(call))
    found = [
        _greeted(place, call, deadline)
        for place, call in called
        if not _is_gone(call) and not _is_another_user_s(place, call)
    ]
    return _one_of_each(found)


def _called(place: places.Place) -> ClientSocket | Unreachable:
    """Connect to a place at once, or not at all."""
    try:
        return ClientSocket(place.text, time.monotonic())
    except Unreachable as problem:
        return problem


def _is_gone(call: ClientSocket | Unreachable) -> bool:
    return isinstance(call, Unreachable) and call.is_gone


def _is_another_user_s(place: places.Place, call: ClientSocket | Unreachable) -> bool:
    """Tell whether another user has taken the name; the connection is closed then."""
    if isinstance(call, Unreachable) or call.user in {None, place.uid}:
        return False
    call.close()
    return True


def _greeted(place: places.Place, call: ClientSocket | Unreachable, deadline: float) -> Found:
    if isinstance(call, Unreachable):
        return Found(place, None, str(call))
    try:
        return Found(place, Client(place.text, max(0.0, deadline - time.monotonic()), call))
    except Unreachable as problem:
        return Found(place, None, str(problem))


def _one_of_each(found: Sequence[Found]) -> list[Found]:
    """Return one socket of each process: that on which most may be done; the others are closed."""
    best: dict[object, Found] = {}
    for each in found:
        client = each.client
        # With the user, of whom the kernel tells: any process can say hello as another one does.
        process = (
            each.place if client is None else (client.user, client.hello.pid, client.hello.started)
        )
        before = best.setdefault(process, each)
        if client is None or before.client is None or before is each:
            continue
        if len(client.hello.may) > len(before.client.hello.may):
            best[process] = each
            before.client.close()
        else:
            client.close()
    return list(best.values())


def choose(text: str | None = None) -> Client:
    """Connect to the server that is meant.

    Parameters
    ----------
    text : str, optional
        A place, or the number of a process that has a socket in one of the default places. Without it the
        user's only server is meant. For root, its own servers come before those of other users.

    Raises
    ------
    Mistake
        The text is no place; or there are several servers, which are named then.
    Unreachable
        There is no such server.
    """
    if text is not None and not _is_number(text):
        return Client(places.given(text))
    everywhere = servers()
    found = _own_first([each for each in everywhere if text is None or each.place.pid == int(text)])
    answering = [each.client for each in found if each.client is not None]
    # That the server of one user does not answer is no reason to take that of another.
    is_clear = len(answering) == 1 and len({each.place.uid for each in found}) == 1
    for each in everywhere:
        if each.client is not None and not (is_clear and each.client is answering[0]):
            each.client.close()
    if is_clear:
        return answering[0]
    if answering:
        names = "; ".join(each.name for each in found)
        raise Mistake(
            f"there are {len(found)} servers, and --control says which one is meant, by its place or its "
            f"process: {names}"
        )
    raise Unreachable(_why_none(found, text))


def _own_first(found: list[Found]) -> list[Found]:
    """Return those of this user, if one of them answers; else all. Only root is shown those of others.

    Another user may give its sockets the numbers of root's processes.
    """
    own = [each for each in found if each.place.is_own]
    return own if any(each.client is not None for each in own) else found


def _is_number(text: str) -> bool:
    # One that no process has is looked for in vain.
    return text.isascii() and text.isdecimal() and len(text) <= 10


def _why_none(found: Sequence[Found], text: str | None) -> str:
    if found:
        return "; ".join(each.why_not for each in found)
    if text is not None:
        return f"process {text} has no control socket in the usual places ({_HOW})"
    return NONE_THERE


class _Server(NamedTuple):
    """What is known of a server that was found.

    Attributes
    ----------
    hello : Hello
        What it said first.
    user : int or None
        The user whose process it is; None where the system does not tell.
    listeners : frozenset of str
        The addresses of its listeners.
    """

    hello: Hello
    user: int | None
    listeners: frozenset[str]

    @classmethod
    def at(cls, client: Client) -> "_Server":
        """Ask for it.

        Raises
        ------
        Unreachable
            The server is ending.
        """
        try:
            servers = client.call("status")["servers"]
            listeners = frozenset(
                str(listener["address"]) for server in servers for listener in server["listeners"]
            )
        except Lost as end:
            raise Unreachable(str(end)) from None
        except (Refused, LookupError, TypeError):
            listeners = frozenset()  # a server of another version
        return cls(client.hello, client.user, listeners)


class Follower:
    """Finds a server, and finds it again when it was started anew. For one thread at a time.

    The second time it has another process, and so may have another place: then it is the one that the same
    user has started in the same way and since, after the end of the one before or for one of its addresses.

    Parameters
    ----------
    text : str, optional
        As of `choose`.
    """

    def __init__(self, text: str | None = None) -> None:
        self._text = text
        self._server: _Server | None = None
        self._missed_since: float | None = None
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
            client = self._found()
        except Unreachable:
            self._failures += 1
            raise
        self._failures = 0
        return client

    def _found(self) -> Client:
        if self._text is not None and not _is_number(self._text):
            return Client(places.given(self._text))
        client = choose(self._text) if self._server is None else self._again(self._server)
        self._server, self._missed_since = _Server.at(client), None
        return client

    @property
    def pause(self) -> float:
        """Seconds to wait before the next try, longer after each one that failed."""
        return min(LONGEST_PAUSE, FIRST_PAUSE * float(2 ** min(self._failures, 8)))

    def _again(self, before: _Server) -> Client:
        """Connect to the same process, or to what was started in its place."""
        if self._missed_since is None:
            self._missed_since = time.time() - NOTICED_WITHIN
        clients = [each.client for each in servers() if each.client is not None]
        # Of several the one that was started last.
        clients.sort(key=lambda client: client.hello.started, reverse=True)
        heir = next((each for each in clients if self._follows(each, before)), None)
        for client in clients:
            if client is not heir:
                client.close()
        if heir is None:
            raise Unreachable(f"the server ({before.hello}) has ended, and is not back yet")
        return heir

    def _follows(self, client: Client, before: _Server) -> bool:
        hello = client.hello
        # Root is shown the servers of other users, and those may say what they like.
        if client.user != before.user:
            return False
        if (hello.pid, hello.started) == (before.hello.pid, before.hello.started):
            return True
        if hello.name != before.hello.name or _moment(hello) <= _moment(before.hello):
            return False
        # Else a sister of it may have been there all the time, on other addresses.
        if _moment(hello) >= (self._missed_since or 0.0):
            return True
        try:
            return not before.listeners.isdisjoint(_Server.at(client).listeners)
        except Unreachable:
            return False


def _moment(hello: Hello) -> float:
    """Return when a server was started, in seconds since 1970; 0 where it does not say."""
    try:
        return datetime.fromisoformat(hello.started).timestamp()
    except (ValueError, OverflowError):
        return 0.0
