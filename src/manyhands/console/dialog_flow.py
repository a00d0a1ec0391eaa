"""What the keys have done after a person has said in dialogs what is meant."""

from collections.abc import Callable, Sequence
from typing import Any, Protocol, TypeVar

from textual.app import App
from textual.screen import ModalScreen

from manyhands.console.actions import Actions, Limit, OtherRooms, Room
from manyhands.console.dialogs import Choice, Page, Prompt, Question
from manyhands.console.feed import Request
from manyhands.console.figures import Connection
from manyhands.console.model import Model
from manyhands.console.spans import Line, labelled, span
from manyhands.console.view import FILTERS, where
from manyhands.control import limit_values


class _Choosable(Protocol):
    @property
    def line(self) -> Line: ...


T = TypeVar("T", bound=_Choosable)


class DialogFlow:
    """The dialogs of each key, one after the other.

    Parameters
    ----------
    app : App
        Shows them.
    model : Model
        What is shown.
    ask : callable
        Hands a request in.
    """

    def __init__(self, app: App[Any], model: Model, ask: Callable[[Request], None]) -> None:
        self._app = app
        self._model = model
        self._ask = ask
        self._actions = Actions(model)

    def filter(self, changed: Callable[[], None]) -> None:
        """Ask for a filter; call `changed` once there is another one."""

        def take(words: str | None) -> None:
            if words is not None:
                self._model.view.filter(words)
                changed()

        title = [(span("show only those that have", "strong"),), (span(FILTERS, "label"),)]
        self._app.push_screen(Prompt(title, self._model.view.words, where), take)

    def look(self, selected: Connection, changed: Callable[[], None]) -> None:
        """Show the details of a connection; call `changed` when they are wanted, and when no longer."""
        model, session = self._model, self._model.session

        def leave(key: str | None) -> None:
            model.details_of = None
            changed()
            if key == "x" and session == model.session:
                self.close(selected)

        model.details_of = selected.id
        keys = {"x": "close it"} if model.may("close") else {}
        self._app.push_screen(Page(f"connection {selected.id}", model.details, keys), leave)
        changed()

    def close(self, connection: Connection) -> None:
        """Close a connection, after a question."""
        request = self._actions.close(connection.id)

        def take(is_yes: bool | None) -> None:
            if is_yes:
                self._ask(request)

        question = [
            (span(f"Close connection {connection.id}?", "strong"),),
            labelled("peer", connection.peer),
            labelled("handler", connection.handler),
        ]
        self._app.push_screen(Question(question, "close it", "leave it"), take)

    def suspend(self) -> None:
        """Have listeners chosen, and suspend or resume them."""
        offers = self._actions.suspensions()
        self._choose("listeners", offers, lambda offer: self._ask(offer.request))

    def limits(self) -> None:
        """Show the limits, and have one adjusted."""
        may = self._model.may_write
        title = "limits" if may else "limits (which cannot be set over this socket)"
        self._ask(
            self._actions.limits(lambda limits: self._choose(title, limits, self._ask_for_value))
        )

    def _ask_for_value(self, limit: Limit) -> None:
        def take(value: str | None) -> None:
            if value is not None:
                self._ask(self._actions.adjust(limit, value))

        if self._model.may_write:
            self._app.push_screen(Prompt(limit.question, limit.typed, limit_values.read), take)

    def tell(self) -> None:
        """Have a room chosen, and tell it a line."""
        self._ask(
            self._actions.rooms(lambda rooms: self._choose("rooms", rooms, self._ask_for_room))
        )

    def _ask_for_room(self, room: Room | OtherRooms) -> None:
        def take(name: str | None) -> None:
            if name:
                self._ask_for_line(name, None)

        if isinstance(room, Room):
            self._ask_for_line(room.name, room.server)
        else:
            self._app.push_screen(Prompt([(span("which room", "strong"),)]), take)

    def _ask_for_line(self, name: str, server: int | None) -> None:
        def take(line: str | None) -> None:
            if line:
                self._ask(self._actions.tell(name, server, line))

        self._app.push_screen(Prompt([(span(f"to all in the room {name}", "strong"),)]), take)

    def _choose(self, title: str, choices: Sequence[T], then: Callable[[T], None]) -> None:
        def take(number: int | None) -> None:
            if number is not None and number >= 0:
                then(choices[number])

        # An answer may come late, when something else has been begun.
        if not isinstance(self._app.screen, ModalScreen):
            self._app.push_screen(Choice(title, [each.line for each in choices]), take)
