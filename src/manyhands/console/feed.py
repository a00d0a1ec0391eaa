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

from manyhands.console.figures import Json
from manyhands.console.look import Snapshot, Wanted, count_bytes, look, result_of, verbs_of
from manyhands.control.client import Client, ControlError, Hello, Refused
from manyhands.control.discovery import Follower

MOST_WAITING = 16
"""Requests that wait for the server, which one person's keys do not reach while it answers."""

_BETWEEN_LOOKS = 0.15
"""Seconds between two looks at the same figures, however fast a key repeats: a look costs the server time."""

_REST = 100
"""How many times as long as a server took to list connections it has until it is asked to again.

It has to look at each of them: of ten thousand a page takes it some ten milliseconds, in half of which it
gives way to its handlers. So it spends half a hundredth of its processor's time on that.
"""

_MANY = 1000
"""Connections that are open; fewer are listed in no time, and where that takes long the machine is busy."""

_LONGEST_REST = 10.0
"""Seconds: figures that are older tell little."""


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
        self._snapshot = replace(before, session=session, hello=hello, verbs=verbs_of(client))
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
            return Answer(result_of(client, request.verb, request.params))
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
