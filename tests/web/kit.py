"""A server's control socket whose connections and figures are the test's, and the page that shows it."""

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from manyhands.control.discovery import Follower
from manyhands.server import Server
from manyhands.testing import wait_until
from manyhands.web.addresses import names_of
from manyhands.web.feed import Feed
from manyhands.web.page import Page
from tests.control import kit as control

TOKEN = "a-token-for-tests-that-is-long-enough"
HERE = "tcp://127.0.0.1:0"
LISTENER = "127.0.0.1:8008"
PROCESS = {"pid": 71, "started": "2026-11-30T01:02:03+00:00"}
"""What tells the server's process from others."""

DETAILS = {"stack": ["shop.py:12 in handle"], "tls": None, "deadlines": {}, "pid": 71}


def connection(number: int, **facts: Any) -> dict[str, Any]:
    """Return what a server tells of one connection."""
    return {
        "id": str(number),
        "server": 1,
        "peer": f"192.0.2.1:{40000 + number}",
        "listener": LISTENER,
        "handler": "Echo",
        "state": "open",
        "age": 31.2,
        "silent": 4.0,
        "in": 812,
        "out": 900,
        "waiting": 0,
        "missed": 0,
        "reason": None,
        **facts,
    }


class Watched:
    """A server as its control socket has it."""

    def __init__(self, **hello: Any) -> None:
        self.hello = {**PROCESS, **hello}
        self.connections = {each["id"]: each for each in map(connection, range(1, 4))}
        self.limits: dict[str, Any] = {"max_connections": 10000, "refusal": None}
        self.certificates: dict[str, float] = {}
        self.is_suspended = False
        self.calls: list[tuple[str, dict[str, Any]]] = []
        """All that was asked for, the watching left out."""

        self.watchers: list[control.Wire] = []
        self._telling = threading.Lock()
        self._number = 0
        self._books: dict[str, int] = {}

    def tell(self, *events: dict[str, Any], dropped: int = 0) -> None:
        """Tell all that watch of events."""
        self._tell("events", {"items": list(events), "dropped": dropped})

    def tell_stats(self, **books: int) -> None:
        """Tell all that watch of the figures, with these in the place of some."""
        self._books = books or self._books
        self._tell("stats", {"at": datetime.now(UTC).isoformat(), **self.status()})

    @contextmanager
    def telling(self) -> Iterator[None]:
        """Tell of the figures again and again."""
        has_ended = threading.Event()

        def tell() -> None:
            while not has_ended.wait(0.3):
                self.tell_stats()

        thread = threading.Thread(target=tell)
        thread.start()
        try:
            yield
        finally:
            has_ended.set()
            thread.join()

    def _tell(self, method: str, params: dict[str, Any]) -> None:
        with self._telling:
            self._number += 1
            for watcher in tuple(self.watchers):
                with suppress(OSError):
                    watcher.tell(method, {"seq": self._number, **params})

    def status(self) -> dict[str, Any]:
        """Return what `status` says."""
        count = len(self.connections)
        listener = {
            "address": LISTENER,
            "is_suspended": self.is_suspended,
            "waiting": 0,
            "backlog": 128,
            "dropped": None,
        }
        engine = {"name": "threads", "running": count, "limit": None, "hub_delay": None}
        server = {
            "server": 1,
            "kind": "Server",
            "handler": "Echo",
            "listeners": [listener],
            "engines": [engine],
            "is_draining": False,
            "open": {"open": count, "closing": 0},
            "closed": {"peer_closed": 5},
            "dropped": {},
            "certificates": self.certificates,
        }
        return {
            "pid": 71,
            "uptime": 61.5,
            "servers": [server],
            "books": {
                "accepted": count + 5,
                "open": count,
                "closed": 5,
                "refused": 0,
                **self._books,
            },
            "rates": {"accepted": 2.0, "closed": 1.0, "refused": 0.0, "bytes_in": 812.0},
            "process": {"cpu_seconds": 1.5, "rss": 26_000_000, "descriptors": 12, "threads": 5},
        }

    def script(self, wire: control.Wire) -> None:
        """Serve one client."""
        wire.hello(**self.hello)
        for request in wire.requests():
            verb, params = request["method"], request.get("params", {})
            if verb == "watch":
                with self._telling:
                    wire.answer(request, {"watching": params["what"], "every": 1.0})
                    self.watchers.append(wire)
                continue
            self.calls.append((verb, params))
            try:
                wire.answer(request, self._answer(verb, params))
            except control.RefusalError as refusal:
                wire.refuse(request, *refusal.args)

    def _answer(self, verb: str, params: dict[str, Any]) -> object:
        verbs: dict[str, control.Verb] = {
            "status": lambda params: self.status(),
            "connections.list": self._page,
            "connections.get": lambda params: self._connection(params) | DETAILS,
            "connections.close": self._close,
            "limits.get": self._get_limits,
            "limits.set": self._set_limits,
            "listeners.suspend": lambda params: self._suspend(True),
            "listeners.resume": lambda params: self._suspend(False),
        }
        return verbs[verb](params)

    def _close(self, params: dict[str, Any]) -> object:
        del self.connections[self._connection(params)["id"]]
        return {"closed": [params["id"]], "gone": []}

    def _get_limits(self, params: dict[str, Any]) -> object:
        items = [
            {"server": 1, "name": name, "value": value, "default": None, "help": "how many"}
            for name, value in self.limits.items()
        ]
        return {"items": items}

    def _set_limits(self, params: dict[str, Any]) -> object:
        if params["values"].get("max_connections") == 0:
            raise control.RefusalError(-32602, "max_connections must be 1 or more, not 0")
        self.limits |= params["values"]
        return {"values": params["values"]}

    def _suspend(self, is_suspended: bool) -> object:
        self.is_suspended = is_suspended
        return {"listeners": []}

    def _connection(self, params: dict[str, Any]) -> dict[str, Any]:
        if params["id"] not in self.connections:
            raise control.RefusalError(-32010, f"there is no connection {params['id']}")
        return self.connections[params["id"]]

    def _page(self, params: dict[str, Any]) -> dict[str, Any]:
        text, limit = params.get("where", {}).get("text", ""), params.get("limit", 100)
        field, first = params.get("sort", "id"), int(params.get("after", 0))
        found = [each for each in self.connections.values() if text in each["peer"]]
        name = field.removeprefix("-")
        found.sort(key=lambda each: each[name], reverse=field.startswith("-"))
        return {
            "items": found[first : first + limit],
            "next": str(first + limit) if first + limit < len(found) else None,
            "total": len(found),
            "open": len(self.connections),
        }


@contextmanager
def watched(folder: Path, server: Watched | None = None) -> Iterator[Watched]:
    """Have a server's control socket at `folder`/control."""
    server = server or Watched()
    place = folder / "control"
    with control.served(str(place), server.script):
        yield server
    place.unlink()


@contextmanager
def page_of(
    folder: Path,
    *addresses: str,
    is_admin: bool = False,
    hosts: Sequence[str] | None = None,
    token: str = TOKEN,
    **options: Any,
) -> Iterator[Server]:
    """Serve the page of the control socket at `folder`/control; yield its server."""
    follower = Follower(str(folder / "control"))
    with Feed(follower, follower.connect()) as feed:
        names = names_of([], ["localhost", "127.0.0.1", "::1"]) if hosts is None else hosts
        page = Page(feed, token, names, *addresses or (HERE,), is_admin=is_admin, **options)
        with page, page.server:
            yield page.server


def until_watched(server: Watched) -> None:
    """Wait until the page watches."""
    wait_until(lambda: server.watchers)
