"""What the keys ask of the server, and how its answers read."""

from collections.abc import Callable
from dataclasses import dataclass

from manyhands.console.feed import Answer, Request
from manyhands.console.figures import Json, Listener, items, listeners, mapping, text, whole
from manyhands.console.model import Model
from manyhands.console.spans import Line, span
from manyhands.control import limit_values
from manyhands.model.columns import padded
from manyhands.model.quantities import count


@dataclass(frozen=True, slots=True)
class Offer:
    """Something that can be done to listeners: as a line to choose, and as a request."""

    line: Line
    request: Request


@dataclass(frozen=True, slots=True)
class Limit:
    """An option that can be adjusted while the server runs."""

    server: int
    name: str
    value: object
    default: object
    unit: str
    help: str

    @property
    def line(self) -> Line:
        """The option as a line to choose."""
        is_usual = self.value == self.default
        value = span(padded(f"{self.typed} {_unit(self)}", 24), "" if is_usual else "strong")
        return (span(padded(self.name, 24)), value, span(f" {self.help}", "label"))

    @property
    def typed(self) -> str:
        """The value, as it is typed."""
        return limit_values.written(self.value)

    @property
    def question(self) -> list[Line]:
        """What is asked for another value."""
        usual = f"{limit_values.written(self.default)} {_unit(self)}".rstrip()
        return [
            (span(self.name, "strong"), span(f"  (usually {usual})", "label")),
            (span(self.help),),
        ]


def _unit(limit: Limit) -> str:
    return "" if limit.value is None else limit.unit


@dataclass(frozen=True, slots=True)
class Room:
    """A room, and how many connections are in it."""

    server: int
    name: str
    members: int

    @property
    def line(self) -> Line:
        """The room as a line to choose."""
        return (span(padded(count(self.members), 8, right=True)), span(f"  {self.name}"))


@dataclass(frozen=True, slots=True)
class OtherRooms:
    """The rooms that are not listed, for there are too many."""

    number: int

    @property
    def line(self) -> Line:
        """What they are chosen by."""
        return (span(f"another room, of {count(self.number)} more: type its name"),)


class Actions:
    """Requests, whose answers the model says when they are there.

    Parameters
    ----------
    model : Model
        What is shown: a request is for the process that is shown when it is made.
    """

    def __init__(self, model: Model) -> None:
        self._model = model

    def _request(self, verb: str, params: Json, then: Callable[[Json], str]) -> Request:
        """Return a request; `then` makes a sentence of its result."""

        def done(answer: Answer) -> None:
            self._model.said = answer.trouble or then(answer.result)

        return Request(verb, params, self._model.session, done)

    def close(self, connection: str) -> Request:
        """Close a connection."""
        return self._request(
            "connections.close", {"id": connection}, lambda _: f"connection {connection} is closed"
        )

    def suspensions(self) -> list[Offer]:
        """Return what can be done to the listeners that are shown."""
        all_of_them = [each for server in self._model.servers for each in server.listeners]
        offers = [self._suspension(each) for each in all_of_them]
        if len(all_of_them) > 1:
            offers += [
                self._suspension_of_all(is_suspended=not is_suspended)
                for is_suspended in sorted({each.is_suspended for each in all_of_them})
            ]
        return offers

    def _suspension(self, listener: Listener) -> Offer:
        params = {"listener": listener.address, "server": listener.server}
        what = _resume_or_suspend(listener.is_suspended)
        line = (span(f"{what} {listener.address}"),)
        return Offer(line, self._request(f"listeners.{what}", params, _state))

    def _suspension_of_all(self, *, is_suspended: bool) -> Offer:
        what = _resume_or_suspend(not is_suspended)
        line = (span(f"{what} all"),)
        return Offer(line, self._request(f"listeners.{what}", self._scope(), _state))

    def limits(self, then: Callable[[list[Limit]], None]) -> Request:
        """Ask for the options that can be adjusted."""

        def told(result: Json) -> str:
            then([_limit(mapping(each)) for each in items(result.get("items"))])
            return ""

        return self._request("limits.get", self._scope(), told)

    def adjust(self, limit: Limit, value: str) -> Request:
        """Give a limit another value."""

        def told(result: Json) -> str:
            now = mapping(result.get("values")).get(limit.name)
            return f"{limit.name} is {limit_values.written(now)} now"

        values = {"values": {limit.name: limit_values.read(value)}, "server": limit.server}
        return self._request("limits.set", values, told)

    def rooms(self, then: Callable[[list[Room | OtherRooms]], None]) -> Request:
        """Ask for the rooms."""

        def told(result: Json) -> str:
            listed = [_room(mapping(each)) for each in items(result.get("items"))]
            others = (whole(result.get("total")) or 0) - len(listed)
            then([*([OtherRooms(others)] if others > 0 else []), *listed])
            return ""

        return self._request("rooms.list", self._scope(), told)

    def tell(self, name: str, server: int | None, line: str) -> Request:
        """Tell a line to all that are in a room; of all servers that are shown, where the server is None."""
        scope = self._scope() if server is None else {"server": server}
        params = {"room": name, "text": f"{line}\n", **scope}
        return self._request(
            "rooms.tell",
            params,
            lambda result: f"told {count(whole(result.get('told')))} in the room {name}",
        )

    def _scope(self) -> Json:
        scope = self._model.view.scope
        return {} if scope is None else {"server": scope}


def _limit(answer: Json) -> Limit:
    return Limit(
        whole(answer.get("server")) or 1,
        text(answer.get("name")),
        answer.get("value"),
        answer.get("default"),
        text(answer.get("unit")),
        text(answer.get("help")),
    )


def _room(answer: Json) -> Room:
    return Room(
        whole(answer.get("server")) or 1,
        text(answer.get("room")),
        whole(answer.get("members")) or 0,
    )


def _resume_or_suspend(is_suspended: bool) -> str:
    return "resume" if is_suspended else "suspend"


def _state(result: Json) -> str:
    told = listeners(result)
    suspended = ", ".join(each.address for each in told if each.is_suspended)
    accepting = ", ".join(each.address for each in told if not each.is_suspended)
    sentences = [f"suspended: {suspended}"] if suspended else []
    return "; ".join(sentences + ([f"accepts clients: {accepting}"] if accepting else []))
