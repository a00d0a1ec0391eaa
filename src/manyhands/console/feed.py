"""A thread that asks a server how it is, again and again, and carries out what the keys ask for.

The screen never waits for the server: it says what it wants to see (`Feed.want`) and hands requests in
(`Feed.ask`). It is told that there is news, and takes the latest snapshot, and the answers.
"""

import contextlib
import queue
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace

from manyhands.console.figures import Json, Page, Status, items, mapping, page, status, text
from manyhands.control.client import Client, ControlError, Hello, Refused
from manyhands.control.discovery import Follower

MOST_WAITING = 16
"""Requests that wait for the server, which one person's keys do not reach while it answers."""

_BETWEEN_LOOKS = 0.15
"""Seconds between two looks at the same figures, however fast a key repeats: a look costs the server time."""

_RARELY = 60.0
"""Seconds, the longest of the protocol: of what a server tells by itself nothing is shown."""

_REST = 100
"""How many times as long as a server took to list connections it has until it is asked to again.

It has to look at each of them: of ten thousand a page takes it tens of milliseconds. So it spends some
hundredth of its processor's time on that.
"""

_MANY = 1000
"""Connections that are open; fewer are listed in no time, and where that takes long the machine is busy."""

_LONGEST_REST = 10.0
"""Seconds: figures that are older tell little."""

_ANSWER_TIMEOUT = 5.0
"""Seconds: a server that is stopped is to be told of soon."""


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


@dataclass(frozen=True, slots=True)
class Answer:
    """What came of a request: its result, or why there is none, in a sentence."""

    result: Json = field(default_factory=dict)
    trouble: str = ""


@dataclass(frozen=True, slots=True)
class Request:
    """What is asked of the server.

    Attributes
    ----------
    verb : str
        As the protocol has it.
    params : mapping
        Its parameters.
    session : int
        The session that it is meant for: what one process calls 7 is another client at the next one.
    then : callable
        Takes the answer, in the thread that calls `Feed.take_answers`.
    """

    verb: str
    params: Json
    session: int
    then: Callable[[Answer], None]


class Feed:
    """Follows one server in a thread of its own.

    Parameters
    ----------
    follower : Follower
        Finds the server, also after it was started anew.
    interval : float
        Seconds between two looks.
    tell : callable
        Called in that thread when there is news.
    """

    def __init__(self, follower: Follower, interval: float, tell: Callable[[], None]) -> None:
        self._follower = follower
        self._interval = interval
        self._tell = tell
        self._snapshot = Snapshot()
        self._wanted: Wanted | None = None
        # None wakes the thread.
        self._requests: queue.Queue[Request | None] = queue.Queue(MOST_WAITING)
        self._answers: queue.SimpleQueue[tuple[Request, Answer]] = queue.SimpleQueue()
        self._is_over = False
        self._client: Client | None = None
        self.failure: Exception | None = None
        """What ended the thread, of which nothing else will tell."""

        self._thread = threading.Thread(target=self._run, name="manyhands-top", daemon=True)

    @property
    def snapshot(self) -> Snapshot:
        """The latest one."""
        return self._snapshot

    @property
    def rest(self) -> float:
        """Seconds between two looks at the same connections; the figures are looked at more often."""
        listed = self._snapshot.page
        if listed is None or listed.open < _MANY:
            return self._interval
        return max(self._interval, min(_LONGEST_REST, _REST * self._snapshot.took))

    @property
    def is_alive(self) -> bool:
        """Whether its thread is there."""
        return self._thread.is_alive()

    def start(self, client: Client | None = None) -> None:
        """Begin to follow the server; `client` is a connection to it that is there already."""
        self._client = client
        self._thread.start()

    def stop(self) -> None:
        """End the thread; one that waits for a server is left behind, and closes its connection by itself."""
        self._is_over = True
        self._wake()

    def want(self, wanted: Wanted) -> None:
        """Say what is shown from now on; it is asked for at once."""
        self._wanted = wanted
        self._wake()

    def ask(self, request: Request) -> bool:
        """Hand a request in; return False when too many wait already."""
        try:
            self._requests.put_nowait(request)
        except queue.Full:
            return False
        return True

    def take_answers(self) -> None:
        """Call the `then` of each request that has been answered."""
        while True:
            try:
                request, answer = self._answers.get_nowait()
            except queue.Empty:
                return
            request.then(answer)

    def _wake(self) -> None:
        # Where the queue is full the thread is awake.
        with contextlib.suppress(queue.Full):
            self._requests.put_nowait(None)

    def _run(self) -> None:
        try:
            while not self._is_over:
                self._try_to_follow()
        except Exception as failure:  # noqa: BLE001 - a thread that ends in silence would leave old figures on the screen
            self.failure = failure
            self._tell()

    def _try_to_follow(self) -> None:
        client, self._client = self._client, None
        try:
            with client or self._follower.connect() as connected:
                self._greet(connected)
                self._follow(connected)
        except ControlError as problem:
            self._show(replace(self._snapshot, trouble=str(problem)))
            self._turn_away(str(problem), time.monotonic() + self._follower.pause)

    def _greet(self, client: Client) -> None:
        before, hello = self._snapshot, client.hello
        session = before.session
        if before.hello is None or _process(before.hello) != _process(hello):
            before, session = Snapshot(), session + 1
        self._snapshot = replace(before, session=session, hello=hello, verbs=_verbs(client))
        count_bytes(client)

    def _follow(self, client: Client) -> None:
        due = page_due = time.monotonic()
        while not self._is_over:
            now, wanted = time.monotonic(), self._wanted
            with_status = now >= due
            with_page = now >= page_due or wanted != self._snapshot.wanted
            self._show(
                look(client, self._snapshot, wanted, with_status=with_status, with_page=with_page)
            )
            now = time.monotonic()
            # From the end of the look: one that takes long is not to be all that the server does.
            due = now + self._interval if with_status else due
            page_due = now + self.rest if with_page else page_due
            if self._carry_out(client, due, now + _BETWEEN_LOOKS):
                due = page_due = now

    def _carry_out(self, client: Client, until: float, soon: float) -> bool:
        """Carry requests out; from the first one on, or from a change of what is wanted, `soon` is the end.

        Returns
        -------
        bool
            Whether there was a request, which may have changed any figure.
        """
        has_asked = False
        while not self._is_over and (left := until - time.monotonic()) > 0:
            try:
                request = self._requests.get(timeout=left)
            except queue.Empty:
                break
            until = min(until, soon)
            if request is not None:
                has_asked = True
                self._answer(request, self._answer_to(client, request))
        return has_asked

    def _answer_to(self, client: Client, request: Request) -> Answer:
        if request.session != self._snapshot.session:
            return Answer(trouble="the server has been started anew meanwhile: nothing was done")
        try:
            return Answer(_result(client, request.verb, request.params))
        except Refused as refusal:
            return Answer(trouble=str(refusal))
        except ControlError as problem:
            self._answer(request, Answer(trouble=str(problem)))
            raise

    def _turn_away(self, trouble: str, until: float) -> None:
        """Answer requests while there is no server, until it is time to look for it again."""
        while not self._is_over and (left := until - time.monotonic()) > 0:
            try:
                request = self._requests.get(timeout=left)
            except queue.Empty:
                return
            if request is not None:
                self._answer(request, Answer(trouble=trouble))

    def _answer(self, request: Request, answer: Answer) -> None:
        self._answers.put((request, answer))
        self._tell()

    def _show(self, snapshot: Snapshot) -> None:
        self._snapshot = snapshot
        self._tell()


def _process(hello: Hello) -> tuple[int, str]:
    return hello.pid, hello.started


def _result(client: Client, verb: str, params: Json) -> Json:
    return mapping(client.request(verb, params, _ANSWER_TIMEOUT))


def count_bytes(client: Client) -> None:
    """Have a server add its bytes up, which it does from the first `watch` on."""
    with contextlib.suppress(Refused):
        _result(client, "watch", {"what": ["stats"], "every": _RARELY})


def _verbs(client: Client) -> frozenset[str]:
    try:
        told = _result(client, "verbs", {})
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
        told = _result(client, "status", {})
        now = replace(now, status=status(told), at=time.monotonic())
    if wanted is None:
        return now
    if with_page:
        now = _with_page(client, now, wanted.connections)
    return _with_details(client, replace(now, wanted=wanted, details=None, ending=""))


def _with_page(client: Client, now: Snapshot, connections: Json) -> Snapshot:
    began = time.monotonic()
    try:
        listed: Page | None = page(_result(client, "connections.list", connections))
        refusal = ""
    except Refused as refused:
        listed, refusal = None, str(refused)
    return replace(now, page=listed, refusal=refusal, took=time.monotonic() - began)


def _with_details(client: Client, now: Snapshot) -> Snapshot:
    if now.wanted is None or now.wanted.details_of is None:
        return now
    try:
        details = _result(client, "connections.get", {"id": now.wanted.details_of})
    except Refused as refused:
        return replace(now, ending=str(refused))
    return replace(now, details=details)
