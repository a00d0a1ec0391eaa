"""The client's end of the control protocol: calls that wait for their answers, and what a server tells.

`manyhands ctl`, `top` and `web` are such clients; programs may be too.
"""

import json
import time
from collections import deque
from collections.abc import Iterator
from typing import Any, NamedTuple, Self

from manyhands.control.client_socket import ClientSocket, ControlError, Lost, Unreachable
from manyhands.control.protocol import LONGEST_REQUEST, VERSION, Code
from manyhands.model.escaping import escape

__all__ = ["Client", "ControlError", "Hello", "Lost", "Notification", "Refused", "Unreachable"]

HELLO_TIMEOUT = 5.0
"""Seconds for a server to take a client and to say hello: a thread of its own does that, and nothing slow."""

ANSWER_TIMEOUT = 10.0
"""Seconds for an answer: a verb is brief, whatever it begins."""

MOST_WAITING = 100
"""Notifications that are kept while an answer is awaited: ten seconds of the fastest."""


class Refused(ControlError):  # noqa: N818 - what happened
    """The server does not do what it was asked; the text is its sentence.

    Attributes
    ----------
    code : int
        Why, as `manyhands.control.protocol.Code` has it; a later server may have more.
    """

    def __init__(self, code: int, message: str) -> None:
        super().__init__(message)
        self.code = code


class Hello(NamedTuple):
    """What a server says first.

    Attributes
    ----------
    version : str
        That of its manyhands.
    pid : int
        Its process.
    started : str
        When it started (ISO 8601).
    role : str
        ``"server"``, and of a worker to its supervisor ``"worker"``; a later server may have others.
    name : str
        How it was started, as ``"serve shop:Echo"``.
    may : tuple of str
        What this socket lets its clients do: ``"read"``, ``"write"``.
    """

    version: str
    pid: int
    started: str
    role: str
    name: str
    may: tuple[str, ...]

    def __str__(self) -> str:
        return escape(f"process {self.pid}, {self.name}" if self.name else f"process {self.pid}")


class Notification(NamedTuple):
    """What a server tells by itself, once it was asked to by `Client.watch`.

    Attributes
    ----------
    kind : str
        ``"stats"`` or ``"events"``.
    params : dict
        What it tells, as JSON has it.
    """

    kind: str
    params: dict[str, Any]


class Client:
    """A connection to a server's control socket: a context, at whose end it is closed.

    Parameters
    ----------
    place : str
        A path, or ``@name``.
    timeout : float
        Seconds for the server to say hello.
    connection : ClientSocket, optional
        A connection to that place, where there is one already.

    Attributes
    ----------
    place : str
        The place.
    hello : Hello
        What the server said first.

    Raises
    ------
    Unreachable
        No server of this user answers there, or it turns this client away.

    Notes
    -----
    For one thread at a time. A thread that watches and one that calls need a client each.
    """

    def __init__(
        self,
        place: str,
        timeout: float = HELLO_TIMEOUT,
        connection: ClientSocket | None = None,
    ) -> None:
        deadline = time.monotonic() + timeout
        self.place = place
        self._socket = ClientSocket(place, deadline) if connection is None else connection
        self._waiting: deque[Notification] = deque()
        self._last_id = 0
        try:
            self.hello = self._greeted(deadline)
        except BaseException:
            self.close()
            raise
        self._socket.server = f"the server ({self.hello})"

    @property
    def user(self) -> int | None:
        """The number of the user whose process it is; None where the system does not tell."""
        return self._socket.user

    def call(self, verb: str, /, **params: object) -> Any:
        """Carry out a verb; return its result, as JSON has it.

        Parameters
        ----------
        verb : str
            As ``"connections.list"``.
        **params
            The verb's. One that is None is left out.

        Raises
        ------
        Refused
            The server does not do it.
        Lost
            The connection has ended, or no answer came in ten seconds.
        """
        return self.request(verb, {name: each for name, each in params.items() if each is not None})

    def request(self, verb: str, params: object = None, timeout: float = ANSWER_TIMEOUT) -> Any:
        """Carry out a verb, as `call` does, with `params` as they are: an object of JSON, or None.

        Parameters
        ----------
        verb : str
            As ``"connections.list"``.
        params : object
            What `json` can write.
        timeout : float
            Seconds for the answer.

        Raises
        ------
        Refused, Lost
            As of `call`.
        """
        self._last_id += 1
        request = {"jsonrpc": "2.0", "id": self._last_id, "method": verb}
        if params is not None:
            request["params"] = params
        # In ASCII: a word of a command line may hold what UTF-8 has not (PEP 383).
        line = json.dumps(request).encode() + b"\n"
        if len(line) > LONGEST_REQUEST:
            what = f"the request has {len(line)} bytes, and a server takes {LONGEST_REQUEST}"
            raise Refused(Code.TOO_LONG, what)
        deadline = time.monotonic() + timeout
        self._socket.send(line, deadline)
        return self._answer(self._last_id, verb, deadline)

    def watch(self, *what: str, every: float | None = None) -> None:
        """Have the server tell of ``"stats"`` and ``"events"`` from now on; of nothing, where none is given.

        Parameters
        ----------
        *what : str
            What to tell of.
        every : float, optional
            Seconds between two ``"stats"``; one by default.

        Raises
        ------
        Refused, Lost
            As of `call`.
        """
        self.call("watch", what=list(what), every=every)

    def receive(self, timeout: float | None = None) -> Notification | None:
        """Return the next notification; None where none comes in `timeout` seconds. Without it, wait.

        Raises
        ------
        Lost
            The connection has ended.
        """
        if self._waiting:
            return self._waiting.popleft()
        deadline = None if timeout is None else time.monotonic() + timeout
        while (message := self._message(deadline)) is not None:
            notification = self._notification(message)
            if notification is not None:
                return notification
        return None

    def notifications(self) -> Iterator[Notification]:
        """Yield what the server tells until the connection ends, which raises `Lost`."""
        while (notification := self.receive()) is not None:
            yield notification

    def fileno(self) -> int:
        """Return the descriptor of the connection; -1 when it is closed."""
        return self._socket.fileno()

    def close(self) -> None:
        """Close the connection. Once more does no harm."""
        self._socket.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def _greeted(self, deadline: float) -> Hello:
        try:
            message = self._message(deadline)
            if message is not None and "error" in message:
                _result(message)
        except Lost as end:
            raise Unreachable(str(end)) from None
        except Refused as refusal:
            raise Unreachable(f"{self._socket.server} turns clients away: {refusal}") from None
        if message is None:
            raise Unreachable(
                f"{self._socket.server} says nothing: it is stopped, or no server of manyhands"
            )
        return _hello(message, self._socket.server)

    def _answer(self, number: int, verb: str, deadline: float) -> Any:
        while (message := self._message(deadline)) is not None:
            if "method" in message:
                self._keep(message)
            elif message.get("id") in (number, None):
                # Without an id: an error of the whole connection, which ends then.
                return _result(message)
        return self._socket.fail(f"has not answered {escape(verb)} in time")

    def _message(self, deadline: float | None) -> dict[str, Any] | None:
        """Return the next message; None where none is there at `deadline`."""
        line = self._socket.line(deadline)
        if line is None:
            return None
        try:
            message = json.loads(line)
        except (ValueError, RecursionError):
            message = None
        if not isinstance(message, dict):
            self._socket.fail("sent what is no message of the control protocol")
        return message

    def _keep(self, message: dict[str, Any]) -> None:
        notification = self._notification(message)
        if notification is None:
            return
        if notification.kind == "stats":
            # The latest wins.
            self._waiting = deque(each for each in self._waiting if each.kind != "stats")
        self._waiting.append(notification)
        if len(self._waiting) > MOST_WAITING:
            self._drop_oldest()

    def _drop_oldest(self) -> None:
        """Drop the oldest events that wait, and count them among the dropped ones of those that follow."""
        events = [each for each in self._waiting if each.kind == "events"]
        oldest, following = events[0].params, events[1].params
        self._waiting.remove(events[0])
        lost = len(oldest.get("items", ())) + oldest.get("dropped", 0)
        following["dropped"] = following.get("dropped", 0) + lost

    def _notification(self, message: dict[str, Any]) -> Notification | None:
        kind, params = message.get("method"), message.get("params")
        # No set: a list cannot be looked up in one.
        if kind not in ("stats", "events") or not isinstance(params, dict):
            return None  # an answer that came too late, or what a later server tells
        return Notification(kind, params)


def _hello(message: dict[str, Any], server: str) -> Hello:
    params = message.get("params")
    if message.get("method") != "hello" or not isinstance(params, dict):
        raise Unreachable(f"{server} is no server of manyhands: it does not say hello")
    version = params.get("protocol")
    if version != VERSION:
        raise Unreachable(
            f"{server} speaks version {escape(str(version))} of the control protocol, and this manyhands "
            f"version {VERSION}: use the one that it runs on, {escape(str(params.get('manyhands')))}"
        )
    texts = {name: str(params.get(name, "")) for name in ("started", "role", "name")}
    pid, may = params.get("pid"), params.get("may")
    return Hello(
        **texts,
        version=str(params.get("manyhands", "")),
        pid=pid if isinstance(pid, int) else 0,
        may=tuple(map(str, may)) if isinstance(may, list) else (),
    )


def _result(message: dict[str, Any]) -> Any:
    """Return the result of an answer, or raise its error."""
    if "error" not in message:
        return message.get("result")
    error = message["error"]
    code, text = (error.get("code"), error.get("message")) if isinstance(error, dict) else (0, "")
    raise Refused(
        code if isinstance(code, int) else int(Code.INTERNAL),
        str(text or "the server does not say why"),
    )
