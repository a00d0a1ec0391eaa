"""The process that control sockets are for: which servers it has, how they fare, and what it uses."""

import os
import platform
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from manyhands._version import __version__
from manyhands.control.connection_order import Look
from manyhands.control.connection_pages import Entry, Page, page_of
from manyhands.control.messages import Refusal
from manyhands.control.protocol import VERSION, Code
from manyhands.control.recent_traffic import RecentTraffic
from manyhands.control.system_use import age_of_process, use_of_system
from manyhands.engines import Engine
from manyhands.logs.lines import iso_time
from manyhands.model.connection_states import Reason
from manyhands.model.socket_addresses import format_address
from manyhands.runtime.fork_hooks import forking
from manyhands.runtime.slices import slices
from manyhands.serving.controls import ServerControls
from manyhands.serving.info import count_totals, totals_of

if TYPE_CHECKING:
    from manyhands.control.event_feed import EventFeed
    from manyhands.metrics import Figures

_REFUSALS = frozenset(reason.value for reason in Reason if reason.is_refusal)


class Controlled:
    """One server of the process. For the threads that answer.

    Parameters
    ----------
    number
        The number by which clients know it.
    server
        The server.
    traffic
        What is known of its connections' traffic.
    """

    def __init__(self, number: int, server: ServerControls, traffic: RecentTraffic) -> None:
        self.number = number
        self.server = server
        self._traffic = traffic
        self._bytes: tuple[int | None, int | None] = None, None
        self._summed_at = self._next_sum = 0.0
        self._figures: dict[str, Figures] = {}

    def _sum_bytes(self) -> None:
        """Add the bytes up that were received and sent, if it is time to: 2 ms for a thousand connections."""
        if time.monotonic() < self._next_sum:
            return
        with self._traffic.looking():
            totals = totals_of(
                self.server.core.registry, self._traffic.traffic_of, in_slices=slices
            )
        self._bytes = (None, None) if totals is None else (totals.bytes_in, totals.bytes_out)
        self._summed_at, self._next_sum = self._traffic.asked_at, self._traffic.until

    def figures(self) -> "Figures":
        """Return its figures for Prometheus, which are counted from the first time on.

        Raises
        ------
        MissingExtra
            When prometheus-client is not installed.
        """
        found = self._figures.get("all")
        if found is not None:
            return found
        # A child that is forked while another thread imports would have the module's lock taken.
        with forking:
            from manyhands import metrics  # noqa: PLC0415 - an extra, and few ask for it
        made = metrics.Figures(metrics.ServerCollector(self.server, waits_for_hub=False))
        # One step: the threads of two sockets may be asked at once.
        first = self._figures.setdefault("all", made)
        if first is not made:
            made.close()
        return first

    def close(self) -> None:
        """Give back what it has."""
        for figures in self._figures.values():
            figures.close()

    def ask_hub(self) -> None:
        """Have the hub of its fibers looked at, if there is one."""
        for engine in self.server.core.engines:
            engine.hub_lateness()

    def status(self) -> dict[str, Any]:
        """Return how it fares now."""
        server, info = self.server, self.server.info()
        self._sum_bytes()
        bytes_in, bytes_out = self._bytes
        return {
            "server": self.number,
            "kind": server.kind,
            "handler": server.handler,
            "listeners": [asdict(listener) for listener in info.listeners],
            "engines": [_engine(engine) for engine in server.core.engines],
            "is_draining": server.is_stopping,
            "accepted": info.accepted,
            "open": info.open,
            "closed": info.closed,
            "dropped": info.dropped,
            "rooms": len(server.core.rooms),
            "bytes_in": bytes_in,
            "bytes_out": bytes_out,
            "bytes_age": round(time.monotonic() - self._summed_at, 3),
            "certificates": info.certificates,
        }


def _engine(engine: Engine) -> dict[str, object]:
    return {
        "name": engine.name,
        "running": engine.running(),
        "limit": engine.limit,
        "hub_delay": engine.hub_lateness(),
    }


class ControlledProcess:
    """The process as one control socket has it: with the servers that this is for. Thread-safe.

    Parameters
    ----------
    name
        How the process was started, in a few words.
    began
        When that was, in seconds since 1970.
    traffic
        What is known of the traffic of its connections.
    servers
        Returns the servers that there are now, by any thread.
    role
        What it is to its clients.
    """

    def __init__(
        self,
        name: str,
        began: float,
        traffic: RecentTraffic,
        servers: Callable[[], Sequence[Controlled]],
        role: str = "server",
    ) -> None:
        self.name = name
        self._began = began
        self._traffic = traffic
        self._servers = servers
        self._role = role

    def count_traffic(self) -> None:
        """Have the bytes of connections added up that end, from now on."""
        for each in self._present:
            count_totals(each.server.core.registry)

    def note_watch(self, feed: "EventFeed", what: frozenset[str]) -> None:
        """Note what the clients of a socket watch now; its feed takes what happens elsewhere."""

    @property
    def _present(self) -> tuple[Controlled, ...]:
        return tuple(each for each in self._servers() if each.server.is_there)

    def servers(self, number: int | None = None) -> Sequence[Controlled]:
        """Return the servers, or the one of a number.

        Raises
        ------
        Refusal
            There is none of that number.
        """
        servers = self._present
        if number is None:
            return servers
        found = [each for each in servers if each.number == number]
        if not found:
            there = ", ".join(str(each.number) for each in servers) or "none any more"
            raise Refusal(Code.NO_SUCH_THING, f"there is no server {number}; there is {there}")
        return found

    def page(self, where: Mapping[str, Any], sort: str, limit: int, after: str | None) -> Page:
        """Return a page of the open connections of all servers: see `page_of`.

        Raises
        ------
        Refusal
            There is no server of the number that they are to be of; or as of `page_of`.
        """
        if "server" in where:
            self.servers(where["server"])
        looks = (
            (Look(each.number, self._traffic), each.server.core.registry.snapshot())
            for each in self._present
        )
        with self._traffic.looking():
            return page_of(looks, where, sort, limit, after)

    def connection(self, number: int) -> Entry | None:
        """Return an open connection by its number; None where it is not open."""
        for each in self._present:
            found = each.server.core.registry.here(number)
            if found is not None:
                return Entry(each.number, found)
        return None

    def end_of(self, number: int) -> str:
        """Return what is known of the end of a connection, as it goes on after its name; else ``""``."""
        for each in self.servers():
            ended = each.server.core.registry.end_of(number)
            if ended is not None:
                ago, peer = time.monotonic() - ended.at, format_address(ended.client_address)
                return f": it ended {ago:.0f} s ago, {ended.reason.value} (client {peer})"
        return ""

    def hello(self, *, may_write: bool) -> dict[str, object]:
        """Return what a client is told first."""
        return {
            "manyhands": __version__,
            "protocol": VERSION,
            "pid": os.getpid(),
            "started": iso_time(self._began),
            "role": self._role,
            "name": self.name,
            "may": ["read", "write"] if may_write else ["read"],
        }

    def status(self, *, may_write: bool) -> dict[str, Any]:
        """Return how the servers and the process fare now."""
        # Asked first, and looked at when the rest is done: a hub that is idle has answered by then.
        for each in self._present:
            each.ask_hub()
        servers = [each.status() for each in self._present]
        return {
            **self.hello(may_write=may_write),
            "python": platform.python_version(),
            "uptime": round(age_of_process(), 3),
            "servers": servers,
            "books": _books(servers),
            "process": use_of_system(),
        }


def _books(servers: list[dict[str, Any]]) -> dict[str, int]:
    closed: Counter[str] = Counter()
    for server in servers:
        closed.update(server["closed"])
    return {
        "accepted": sum(server["accepted"] for server in servers),
        "open": sum(sum(server["open"].values()) for server in servers),
        "closed": closed.total(),
        "refused": sum(count for reason, count in closed.items() if reason in _REFUSALS),
    }
