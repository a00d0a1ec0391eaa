"""Calls that the page makes: JSON-RPC 2.0, handed on to the control socket, of some verbs alone."""

import json
from collections import deque
from collections.abc import Callable, Mapping
from http import HTTPStatus
from typing import Any

from manyhands.control import limit_values
from manyhands.control.client import Client, ControlError, Lost, Refused, Unreachable
from manyhands.control.protocol import Code
from manyhands.model.usage_errors import Mistake
from manyhands.web.http_connection import Response
from manyhands.web.lists import Lists
from manyhands.web.snapshot import Snapshot

READING = {"connections.get", "connections.list", "limits.get"}
"""The verbs that the page needs and that change nothing."""

WRITING = {"connections.close", "limits.set", "listeners.resume", "listeners.suspend"}
"""Those that change something: with ``--admin`` alone."""

KEPT = 2
"""Connections to the control socket that wait for the next call."""


class _Wrong(Exception):  # noqa: N818 - what happened
    """A call that is not handed on."""

    def __init__(
        self, code: Code, sentence: str, status: HTTPStatus = HTTPStatus.BAD_REQUEST
    ) -> None:
        super().__init__(sentence)
        self.code = code
        self.status = status


class Relay:
    """Hands calls on to the server that is followed. Thread-safe.

    Parameters
    ----------
    now
        Returns what is known of the server now.
    may_write : bool
        Whether verbs that change something are handed on.
    """

    def __init__(self, now: Callable[[], Snapshot], *, may_write: bool) -> None:
        self._now = now
        self._may_write = may_write
        # Each call takes one, or makes one: steps of the interpreter's, for which no lock is needed.
        self._idle: deque[Client] = deque()
        self._is_over = False
        self._lists = Lists()

    def answer(self, body: bytes) -> Response:
        """Carry out the call in the body of a request."""
        number: Any = None
        try:
            call = _call(body)
            number = call["id"]
            return _response({"jsonrpc": "2.0", "id": number, "result": self._carried_out(call)})
        except _Wrong as wrong:
            return _error(number, wrong.code, str(wrong), wrong.status)
        except Refused as refusal:
            return _error(number, refusal.code, str(refusal))
        except ControlError as problem:
            return _error(number, Code.NOT_NOW, str(problem))

    def _carried_out(self, call: dict[str, Any]) -> Any:
        verb = call["method"]
        if verb in WRITING and not self._may_write:
            what = "this page only shows: start it with manyhands web --admin to change anything"
            raise _Wrong(Code.READING_ONLY, what, HTTPStatus.FORBIDDEN)
        if verb not in READING | WRITING:
            raise _Wrong(Code.NO_SUCH_VERB, f"the page makes no call {verb!r}")
        process, params = call.get("process"), call.get("params", {})
        if verb == "connections.list":
            now = self._now()
            # The place too: it is away from the end of a server on, and what it told is true no longer.
            run = f"{now.incarnation} {now.place}"
            return self._lists.get(run, params, lambda: self._called(verb, params, process))
        if verb not in WRITING:
            return self._called(verb, params, process)
        if not isinstance(process, dict):
            raise _Wrong(Code.NO_REQUEST, f"a call of {verb} says for which process it is")
        try:
            return self._called(verb, _read(params), process)
        finally:
            self._lists.forget()

    def close(self) -> None:
        """Close the connections that wait. Those of calls under way are closed after them."""
        self._is_over = True
        while self._idle:
            self._idle.popleft().close()

    def _called(self, verb: str, params: dict[str, Any], process: object) -> Any:
        client = self._waiting()
        if client is not None:
            try:
                return self._with(client, verb, params, process)
            except Lost:
                # The server has ended the silent connection, or has ended. A call that changes something may
                # have been carried out, and is not repeated.
                if verb in WRITING:
                    raise
        return self._with(self._connected(), verb, params, process)

    def _with(self, client: Client, verb: str, params: dict[str, Any], process: object) -> Any:
        try:
            if verb in WRITING:
                _refuse_another(client, process)
            result = client.request(verb, params)
        except (Refused, _Wrong):
            self._give_back(client)
            raise
        except BaseException:
            client.close()
            raise
        self._give_back(client)
        return result

    def _waiting(self) -> Client | None:
        """Return a connection that waits, to the server that is there now."""
        now = self._now()
        while self._idle:
            try:
                client = self._idle.popleft()
            except IndexError:  # another call has taken the last one
                return None
            is_to_it = _process(client.hello._asdict()) == _process(now.server)
            if is_to_it and client.place == now.place:
                return client
            client.close()
        return None

    def _connected(self) -> Client:
        place = self._now().place
        if not place:
            raise Unreachable("the server has ended, and is not back yet")
        return Client(place)

    def _give_back(self, client: Client) -> None:
        if len(self._idle) < KEPT and not self._is_over:
            self._idle.append(client)
        else:
            client.close()


def _process(server: Mapping[str, Any]) -> dict[str, Any]:
    """Return what tells one process of a server from another."""
    return {name: server.get(name) for name in ("pid", "started")}


def _read(params: dict[str, Any]) -> dict[str, Any]:
    """Return params with the values of limits that are texts as `manyhands ctl` and `top` read them."""
    values = params.get("values")
    if not isinstance(values, dict):
        return params
    try:
        read = {
            name: limit_values.read(value) if isinstance(value, str) else value
            for name, value in values.items()
        }
    except Mistake as mistake:
        raise _Wrong(Code.BAD_PARAMS, str(mistake)) from None
    return params | {"values": read}


def _refuse_another(client: Client, process: object) -> None:
    """Refuse what is meant for another process: its connection 7 is another client than this one's."""
    if process != _process(client.hello._asdict()):
        what = "the server has been started anew meanwhile: nothing was done"
        raise _Wrong(Code.NOT_NOW, what, HTTPStatus.CONFLICT)


def _call(body: bytes) -> dict[str, Any]:
    """Read a call, which has an id, a method and params by their names."""
    try:
        call = json.loads(body)
    except (ValueError, RecursionError):
        raise _Wrong(Code.NO_JSON, "the body is no JSON") from None
    if not isinstance(call, dict):
        raise _Wrong(Code.NO_REQUEST, "the body is one call, an object of JSON-RPC 2.0")
    number, verb, params = call.get("id"), call.get("method"), call.get("params", {})
    if number is None or not isinstance(verb, str) or not isinstance(params, dict):
        raise _Wrong(Code.NO_REQUEST, "a call has an id, a method, and params by their names")
    return call


def _response(message: dict[str, Any], status: HTTPStatus = HTTPStatus.OK) -> Response:
    return Response(status, "application/json", json.dumps(message).encode("ascii"))


def _error(
    number: object, code: int, sentence: str, status: HTTPStatus = HTTPStatus.OK
) -> Response:
    error = {"code": int(code), "message": sentence}
    return _response({"jsonrpc": "2.0", "id": number, "error": error}, status)
