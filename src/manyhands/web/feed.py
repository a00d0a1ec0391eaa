"""What the page shows: a server followed over its control socket, and the latest of it kept."""

import secrets
import select
import threading
from typing import Self

from manyhands.control.client import Client, Lost, Refused, Unreachable
from manyhands.control.discovery import Follower
from manyhands.runtime.wakeup import PollableLatch, wait_until_readable
from manyhands.web.snapshot import HISTORY, POINT, Snapshot

EVERY = 1.0
"""Seconds between two figures."""


class Feed:
    """Follows a server until it is closed, through restarts of it. A context; `now` is thread-safe.

    Parameters
    ----------
    follower : Follower
        Finds the server.
    client : Client
        The first connection to it, which is the feed's from now on.

    Attributes
    ----------
    now : Snapshot
        What is known.
    """

    def __init__(self, follower: Follower, client: Client) -> None:
        self._follower = follower
        self._ending = PollableLatch()
        self.now = Snapshot()
        self._begin(client)
        # The one writer of `now`; readers take what is there, so no lock is needed.
        self._thread = threading.Thread(target=self._run, args=(client,), name="manyhands-feed")

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self._ending.set()
        self._thread.join()
        self._ending.close()

    def _run(self, client: Client | None) -> None:
        try:
            while not self._ending.is_set():
                client = client or self._found()
                if client is not None:
                    self._listen(client)
                    client = None
                    self._pause()
        finally:
            if client is not None:
                client.close()
            self._publish(self.now.but(is_over=True))

    def _found(self) -> Client | None:
        """Look for the server; None, after a pause, where it is not back yet."""
        try:
            client = self._follower.connect()
        except Unreachable as problem:
            self._lose(str(problem))
            self._pause()
            return None
        self._begin(client)
        return client

    def _listen(self, client: Client) -> None:
        with client:
            try:
                client.watch("stats", "events", every=EVERY)
                while not self._ending.is_set():
                    notification = client.receive(0)
                    if notification is None:
                        self._wait_for(client)
                    else:
                        self._publish(self.now.after(notification))
            except (Lost, Refused) as problem:
                self._lose(str(problem))

    def _wait_for(self, client: Client) -> None:
        """Wait until the server has something to say, or the page ends."""
        poll = select.poll()
        poll.register(client.fileno(), select.POLLIN)
        poll.register(self._ending.fileno(), select.POLLIN)
        poll.poll()

    def _pause(self) -> None:
        wait_until_readable(self._ending.fileno(), self._follower.pause)

    def _begin(self, client: Client) -> None:
        hello = client.hello
        server = {"is_there": True, "sentence": f"watching {hello}", **hello._asdict()}
        # The points of the server before stay, and a gap in the charts.
        gap = [[None] * (1 + len(POINT))] if self.now.history else []
        self._publish(
            self.now.but(
                incarnation=secrets.token_hex(6),
                server=server,
                place=client.place,
                stats=None,
                history=(*self.now.history, *gap)[-HISTORY:],
                events=(),
                last=0,
            )
        )

    def _lose(self, sentence: str) -> None:
        if self.now.server.get("sentence") != sentence:
            server = {**self.now.server, "is_there": False, "sentence": sentence}
            self._publish(self.now.but(server=server, place=""))

    def _publish(self, now: Snapshot) -> None:
        before, self.now = self.now, now
        before.changed.set()
