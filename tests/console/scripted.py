"""A server of the control protocol that says what a test tells it to, over a real Unix socket."""

import contextlib
import json
import socket
import socketserver
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

if TYPE_CHECKING:
    from collections.abc import Callable

VERBS = (
    "verbs",
    "status",
    "connections.list",
    "connections.get",
    "connections.close",
    "limits.get",
    "limits.set",
    "listeners.suspend",
    "listeners.resume",
    "rooms.list",
    "rooms.tell",
)


class Refusal(Exception):  # noqa: N818 - what happened
    """An error of the protocol."""

    def __init__(self, code: int, message: str) -> None:
        super().__init__(message)
        self.code = code


def connection(number: int, **more: Any) -> dict[str, Any]:
    """Return a connection as the protocol has it."""
    return {
        "id": str(number),
        "server": 1,
        "peer": f"10.0.0.{number % 250}:{40_000 + number % 20_000}",
        "listener": "127.0.0.1:8008",
        "handler": "Echo",
        "state": "open",
        "age": 60.0 + number,
        "silent": 1.0,
        "in": 100 * number,
        "out": 10,
        "waiting": 0,
        "missed": 0,
        "rooms": [],
        "reason": None,
        **more,
    }


def server(number: int = 1, **more: Any) -> dict[str, Any]:
    """Return a server as `status` has it, but for what is counted."""
    return {
        "server": number,
        "kind": "Server",
        "handler": "Echo",
        "listeners": [
            {
                "address": f"127.0.0.1:{8007 + number}",
                "is_suspended": False,
                "waiting": 0,
                "backlog": 128,
                "dropped": None,
            }
        ],
        "engines": [{"name": "threads", "running": 3, "limit": 10, "hub_delay": None}],
        "is_draining": False,
        "closed": {},
        "dropped": {},
        "rooms": 0,
        "bytes_in": None,
        "bytes_out": None,
        **more,
    }


class Scripted:
    """The server: a context in which it listens.

    Attributes
    ----------
    servers, connections : list
        What it says; a test changes them as it likes.
    asked : list
        The requests that came, but for those of a look.
    """

    def __init__(self, place: Path, **hello: Any) -> None:
        self.place = str(place)
        self.hello = {
            "manyhands": "0.1",
            "protocol": 1,
            "pid": 71,
            "started": "2026-03-01T12:00:00+00:00",
            "role": "server",
            "name": "serve shop:Echo",
            "may": ["read", "write"],
            **hello,
        }
        self.servers = [server()]
        self.connections = [connection(number) for number in range(1, 4)]
        self.verbs = VERBS
        self.rooms: list[dict[str, Any]] = []
        self.rooms_total: int | None = None
        self.limits = [
            {
                "server": 1,
                "name": "max_connections",
                "value": 100,
                "default": 10_000,
                "unit": "connections",
                "help": "the most connections at once",
            }
        ]
        self.asked: list[tuple[str, Any]] = []
        self.looks = 0
        self.stack = ["shop.py:7 in handle"]
        self.before_answer: Callable[[str], object] = lambda verb: None
        self._server: _Listener | None = None

    def __enter__(self) -> Self:
        self.begin()
        return self

    def __exit__(self, *exception: object) -> None:
        self.end()

    def begin(self) -> None:
        """Listen."""
        self._server = _Listener(self)
        threading.Thread(target=self._server.serve_forever, args=[0.01], daemon=True).start()

    def end(self) -> None:
        """End as a process does: every connection is closed, and the path is gone."""
        if self._server is not None:
            self._server.end()
            Path(self.place).unlink(missing_ok=True)
            self._server = None

    def answer(self, verb: str, params: dict[str, Any]) -> Any:
        """Carry out a verb."""
        self.before_answer(verb)
        if verb == "watch":
            return {}
        if verb not in self.verbs:
            raise Refusal(-32601, f"there is no verb {verb}")
        carry_out = getattr(self, f"_{verb.replace('.', '_')}")
        if verb in {"verbs", "status", "connections.list", "connections.get"}:
            self.looks += verb == "status"
        else:
            self.asked.append((verb, params))
            if verb not in {"limits.get", "rooms.list"} and "write" not in self.hello["may"]:
                raise Refusal(-32011, "this socket is for reading only")
        return carry_out(params)

    def _verbs(self, params: dict[str, Any]) -> Any:
        return {"items": [{"name": name, "writes": False} for name in self.verbs]}

    def _status(self, params: dict[str, Any]) -> Any:
        servers = [self._counted(each) for each in self.servers]
        process = {
            "cpu_seconds": 1.0,
            "rss": 45_000_000,
            "descriptors": 20,
            "descriptor_limit": 1024,
            "threads": 5,
        }
        return {"uptime": 3725.0, "servers": servers, "process": process}

    def _counted(self, one: dict[str, Any]) -> dict[str, Any]:
        still_open = sum(each["server"] == one["server"] for each in self.connections)
        closed = sum(one["closed"].values())
        return {**one, "open": {"open": still_open}, "accepted": still_open + closed}

    def _connections_list(self, params: dict[str, Any]) -> Any:
        where, field = params.get("where", {}), params.get("sort", "id")
        found = [each for each in [*self.connections] if _matches(each, where)]
        key = field.removeprefix("-")
        if found and key not in found[0]:
            raise Refusal(-32602, f"connections are not sorted by {key!r}")
        found.sort(
            key=lambda each: int(each[key]) if key == "id" else each[key],
            reverse=field.startswith("-"),
        )
        start, limit = int(params.get("after", 0)), params["limit"]
        following = start + limit
        return {
            "items": found[start:following],
            "next": str(following) if following < len(found) else None,
            "total": len(found),
            "open": len(self.connections),
        }

    def _found(self, number: str) -> dict[str, Any]:
        found = next((each for each in [*self.connections] if each["id"] == number), None)
        if found is None:
            raise Refusal(-32010, f"there is no connection {number}: it ended 1 s ago, kicked")
        return found

    def _connections_get(self, params: dict[str, Any]) -> Any:
        more = {"local": "127.0.0.1:8008", "deadlines": {"idle_timeout": 60.0}, "stack": self.stack}
        return {**self._found(params["id"]), **more}

    def _connections_close(self, params: dict[str, Any]) -> Any:
        self.connections.remove(self._found(params["id"]))
        return {"closed": [params["id"]], "gone": []}

    def _limits_get(self, params: dict[str, Any]) -> Any:
        return {"items": self.limits}

    def _limits_set(self, params: dict[str, Any]) -> Any:
        for name, value in params["values"].items():
            if not isinstance(value, int):
                raise Refusal(-32602, f"{name} must be a whole number, not {value!r}")
            self.limits[0]["value"] = value
        return {"values": params["values"]}

    def _listeners_suspend(self, params: dict[str, Any]) -> Any:
        return self._set_suspended(params, is_suspended=True)

    def _listeners_resume(self, params: dict[str, Any]) -> Any:
        return self._set_suspended(params, is_suspended=False)

    def _set_suspended(self, params: dict[str, Any], *, is_suspended: bool) -> Any:
        changed = []
        listeners = [(one["server"], each) for one in self.servers for each in one["listeners"]]
        for number, listener in listeners:
            if params.get("listener", listener["address"]) == listener["address"]:
                listener["is_suspended"] = is_suspended
                changed.append({**listener, "server": number})
        return {"listeners": changed}

    def _rooms_list(self, params: dict[str, Any]) -> Any:
        total = len(self.rooms) if self.rooms_total is None else self.rooms_total
        return {"items": self.rooms, "next": None, "total": total}

    def _rooms_tell(self, params: dict[str, Any]) -> Any:
        return {"told": 2}


def _matches(one: dict[str, Any], where: dict[str, Any]) -> bool:
    return (
        where.get("text", "") in f"{one['peer']} {one['handler']} {one['id']}"
        and where.get("room", "") in [*one["rooms"], ""]
        and one["silent"] >= where.get("idle_over", 0)
        and where.get("server", one["server"]) == one["server"]
    )


class _Listener(socketserver.ThreadingUnixStreamServer):
    daemon_threads = True

    def __init__(self, scripted: Scripted) -> None:
        self.scripted = scripted
        self.clients: list[socket.socket] = []
        super().__init__(scripted.place, _Client)

    def end(self) -> None:
        """Hang up on everybody."""
        self.shutdown()
        self.server_close()
        for client in self.clients:
            with contextlib.suppress(OSError):  # it has gone
                client.shutdown(socket.SHUT_RDWR)


class _Client(socketserver.StreamRequestHandler):
    server: _Listener

    def handle(self) -> None:
        """Answer line by line."""
        scripted = self.server.scripted
        self.server.clients.append(self.request)
        self._say({"jsonrpc": "2.0", "method": "hello", "params": scripted.hello})
        for line in self.rfile:
            request = json.loads(line)
            answer: dict[str, Any] = {"jsonrpc": "2.0", "id": request["id"]}
            try:
                answer["result"] = scripted.answer(request["method"], request.get("params", {}))
            except Refusal as refusal:
                answer["error"] = {"code": refusal.code, "message": str(refusal)}
            try:
                self._say(answer)
            except OSError:
                return

    def _say(self, message: dict[str, Any]) -> None:
        self.wfile.write(json.dumps(message).encode() + b"\n")
