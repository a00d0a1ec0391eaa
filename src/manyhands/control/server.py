"""Serves a control socket, from a thread that depends on nothing of the servers that it is for."""

import os
import socket
import time
from typing import Any

from manyhands.control.event_feed import EventFeed
from manyhands.control.process import ControlledProcess
from manyhands.control.process_verbs import VERBS
from manyhands.control.served_client import ControlClient, Service, TurnedAway
from manyhands.control.time_share import TimeShare
from manyhands.control.verbs import Verbs
from manyhands.control.watching import EVENTS_INTERVAL, Watch
from manyhands.model.addresses import Address
from manyhands.poll_server.clients import Client
from manyhands.poll_server.server import PollServer
from manyhands.runtime.error_reports import print_uncaught
from manyhands.runtime.sockets import peer_user
from manyhands.runtime.unpatched import original

MOST_CLIENTS = 64
"""Clients that are served at once: a few operators, each with a tool or two, and scripts."""

BEFORE_A_REFUSAL = 0.00005
"""Seconds that a stranger waits for it."""

SHARE = 0.25
"""How much of the time the thread works while requests wait; the handlers have the rest for themselves."""

MOST_PAUSE = 0.01
"""Seconds between two answers at the most, so that the last of many clients that ask without end has its own
in time; and seconds of answering after which newcomers have their turn."""


class ControlServer(PollServer):
    """Answers the clients of a control socket until it is closed. Thread-safe.

    Parameters
    ----------
    address
        Where: a Unix socket; None where the client at the other end of `connected` is the only one.
    process
        The process that it is for.
    may_write
        Whether its clients may change anything.
    verbs
        What may be asked.
    connected
        A connection of a client that is there from the beginning. It belongs to the server from now on.

    Raises
    ------
    OSError
        When the address cannot be had.
    RuntimeError
        When the system has no thread left.
    """

    thread_name = "manyhands-control"

    is_woken = True

    def __init__(
        self,
        address: Address | None,
        process: ControlledProcess,
        *,
        may_write: bool,
        verbs: Verbs = VERBS,
        connected: socket.socket | None = None,
    ) -> None:
        self._feed = EventFeed()
        self._service = Service(
            process, verbs, may_write, self._feed, self.room_for_files, self.wake
        )
        self._next_events = 0.0
        self._time_share = TimeShare(SHARE, MOST_PAUSE)
        super().__init__(address, connected)

    def new_client(self, connection: Any) -> Client:
        """Return the client of a connection; of another user, or one too many, it is turned away."""
        stranger = _foreign_user(connection)
        if stranger is not None:
            _sleep(BEFORE_A_REFUSAL)  # any user can call an abstract name, again and again
            return TurnedAway(
                connection, f"this socket is for user {os.geteuid()}, not for {stranger}"
            )
        if len(self.clients) >= MOST_CLIENTS and not self._ends_one_of_no_need():
            return TurnedAway(connection, f"{MOST_CLIENTS} clients are here, all that there may be")
        return ControlClient(connection, self._service)

    def _ends_one_of_no_need(self) -> bool:
        is_one_there = any(client.priority() == 0 for client in self.clients)
        return is_one_there and self.clients.end_one()

    def _controlled(self) -> list[ControlClient]:
        return [client for client in self.clients if isinstance(client, ControlClient)]

    def seconds_left(self) -> float | None:
        """Return the seconds until a client is to be told something."""
        clients, now = self._controlled(), time.monotonic()
        watches = [client.watched for client in clients if client.watched is not None]
        due = [watch.stats_due for watch in watches if watch.of_stats]
        due += [self._next_events] if any(watch.of_events for watch in watches) else []
        awaited = [client.awaits_until for client in clients if client.awaits_until is not None]
        due += [by for by in awaited if by > now]
        if any(client.is_asking(now) for client in clients):
            due.append(now + self._time_share.seconds_left(now))
        return max(0.0, min(due) - now) if due else None

    def do_chores(self) -> None:
        """Answer those that wait for it, and tell those that watch."""
        clients = self._controlled()
        self._answer_one_each(clients)
        self._hear_of_events(clients)
        self._tell_stats(clients)
        self._tell_events(clients)

    def _answer_one_each(self, clients: list[ControlClient]) -> None:
        began = now = time.monotonic()
        asking = [client for client in clients if client.is_asking(now)]
        for client in sorted(asking, key=lambda client: client.waits_since):
            # Then the poll goes on, which newcomers end, and what is to be told in time.
            if self._time_share.seconds_left(now) or now - began > MOST_PAUSE:
                return
            client.answer_one()
            self.clients.settle(client)
            now = time.monotonic()
            self._time_share.note(now, time.thread_time())

    def _hear_of_events(self, clients: list[ControlClient]) -> None:
        watches = [each.watched for each in clients if each.watched is not None]
        what = {
            "events": any(watch.of_events for watch in watches),
            "stats": any(watch.of_stats for watch in watches),
        }
        self._service.process.note_watch(
            self._feed, frozenset(name for name, is_watched in what.items() if is_watched)
        )
        self._feed.is_watched = what["events"]
        if self._feed.is_watched:
            self._feed.begin()
        else:
            self._feed.end()

    def _tell_stats(self, clients: list[ControlClient]) -> None:
        now = time.monotonic()
        due = [
            (client, client.watched)
            for client in clients
            if client.watched is not None and client.watched.is_due(now)
        ]
        # Before anything can fail: else it would be tried again at once, for ever.
        for _, watch in due:
            watch.put_off(now)
        watches = [watch for _, watch in due]
        try:
            if due:
                self._tell_status(due, self._status(), now)
        except Exception as error:  # noqa: BLE001 - of a program's own classes, say; the next look may do
            # Once, until it is told again.
            if not all(watch.has_failed for watch in watches):
                print_uncaught(error)
            for watch in watches:
                watch.has_failed = True
        else:
            for watch in watches:
                watch.has_failed = False

    def _status(self) -> dict[str, Any]:
        self._service.process.count_traffic()
        with self.room_for_files():
            return self._service.process.status(may_write=self._service.may_write)

    def _tell_status(
        self, due: list[tuple[ControlClient, Watch]], status: dict[str, Any], now: float
    ) -> None:
        for client, watch in due:
            told = watch.stats(status, now, is_behind=client.has_unread_stats)
            if told is not None:
                client.has_unread_stats = True
                client.send(told)
            self.clients.settle(client)

    def _tell_events(self, clients: list[ControlClient]) -> None:
        now = time.monotonic()
        if not self._feed.is_watched or now < self._next_events:
            return
        self._next_events = now + EVENTS_INTERVAL
        batch = self._feed.take()
        for client in clients:
            if client.watched is not None and client.watched.of_events:
                client.send(client.watched.events(batch, is_behind=client.is_behind) or b"")
                self.clients.settle(client)

    def has_closed(self) -> None:
        """Hear of events no longer."""
        self._service.process.note_watch(self._feed, frozenset())
        self._feed.end()


def _sleep(seconds: float) -> None:
    original(time, "sleep")(seconds)


def _foreign_user(connection: Any) -> int | None:
    """Return which user a client is of, where that is neither this process's nor root."""
    # Where the system does not tell, the mode of the file keeps others out.
    user = peer_user(connection)
    return None if user in {None, 0, os.geteuid()} else user
