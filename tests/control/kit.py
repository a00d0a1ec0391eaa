"""A control socket as a server has it, or as one that misbehaves does: what it says is the test's."""

import json
import socket
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import Any

from manyhands.control.places import socket_address
from tests.support.waiting import PATIENCE

HELLO = {
    "manyhands": "0.9",
    "protocol": 1,
    "pid": 71,
    "started": "2026-11-30T01:02:03+00:00",
    "role": "server",
    "name": "serve shop:Echo",
    "may": ["read", "write"],
}

Verb = Callable[[dict[str, Any]], object]


class Wire:
    """One client's connection, from the server's end: lines of JSON in both directions."""

    def __init__(self, connection: socket.socket) -> None:
        self.connection = connection
        self._lines = connection.makefile("rb")

    def say(self, message: object) -> None:
        self.say_bytes(json.dumps(message).encode() + b"\n")

    def say_bytes(self, data: bytes) -> None:
        self.connection.sendall(data)

    def tell(self, method: str, params: object) -> None:
        self.say({"jsonrpc": "2.0", "method": method, "params": params})

    def end(self) -> None:
        self.connection.shutdown(socket.SHUT_RDWR)

    def hello(self, **changes: object) -> None:
        self.tell("hello", HELLO | changes)

    def requests(self) -> Iterator[dict[str, Any]]:
        """Yield the requests of the client until it closes."""
        yield from map(json.loads, self._lines)

    def answer(self, request: dict[str, Any], result: object) -> None:
        self.say({"jsonrpc": "2.0", "id": request["id"], "result": result})

    def refuse(self, request: dict[str, Any], code: int, sentence: str) -> None:
        error = {"code": code, "message": sentence}
        self.say({"jsonrpc": "2.0", "id": request["id"], "error": error})


Script = Callable[[Wire], None]


@contextmanager
def served(place: str, script: Script) -> Iterator[None]:
    """Serve each client of a control socket at `place` as `script` says; then its connection is closed."""
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(socket_address(place))
    listener.listen()
    connections: list[socket.socket] = []

    def serve(connection: socket.socket) -> None:
        # An error: the client has gone, or the test is over.
        with connection, suppress(OSError):
            script(Wire(connection))
            connection.shutdown(socket.SHUT_RDWR)

    def accept() -> None:
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            connections.append(connection)
            threading.Thread(target=serve, args=[connection], daemon=True).start()

    accepting = threading.Thread(target=accept, daemon=True)
    accepting.start()
    try:
        yield
    finally:
        listener.shutdown(socket.SHUT_RDWR)
        accepting.join()
        listener.close()
        for connection in connections:
            with connection:
                shut_down(connection)


def shut_down(connection: socket.socket) -> None:
    with suppress(OSError):  # closed already
        connection.shutdown(socket.SHUT_RDWR)


class RefusalError(Exception):
    """What a verb raises to be refused."""

    def __init__(self, code: int, sentence: str) -> None:
        super().__init__(code, sentence)


def answering(verbs: Mapping[str, Verb], **hello: object) -> Script:
    """Return a script that says hello, and answers requests by functions of their params."""

    def script(wire: Wire) -> None:
        wire.hello(**hello)
        for request in wire.requests():
            try:
                wire.answer(request, verbs[request["method"]](request.get("params", {})))
            except RefusalError as refusal:
                wire.refuse(request, *refusal.args)

    return script


class Caller:
    """The client's end of a connection, whose every line the test sees."""

    def __init__(self, connection: socket.socket) -> None:
        self.connection = connection
        self._lines = connection.makefile("rb")
        connection.settimeout(PATIENCE)
        self.hello = self.receive()["params"]

    def ask(self, number: object, verb: str, **params: object) -> None:
        request = {"jsonrpc": "2.0", "id": number, "method": verb, "params": params}
        self.connection.sendall(json.dumps(request).encode() + b"\n")

    def receive(self) -> dict[str, Any]:
        message: dict[str, Any] = json.loads(self._lines.readline())
        return message

    def call(self, verb: str, **params: object) -> Any:
        self.ask(verb, verb, **params)
        while "id" not in (message := self.receive()):
            pass
        return message.get("result", message.get("error"))

    def close(self) -> None:
        self._lines.close()
        self.connection.close()
