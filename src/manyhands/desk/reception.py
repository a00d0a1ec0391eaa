"""The caller's side of the desk: the plain, blocking handler of each call."""

from collections.abc import Iterable
from itertools import chain
from typing import Any

from manyhands.desk import verbs
from manyhands.desk.call import Call
from manyhands.desk.endings import Ending
from manyhands.desk.keeper import Keeper
from manyhands.desk.line import Line
from manyhands.desk.messages import LineTooLong, Message, MessageDecoder
from manyhands.desk.operator import from_the_desk
from manyhands.desk.settings import Settings
from manyhands.desk.shown import Screen, Shown, notice
from manyhands.desk.switchboard import Switchboard
from manyhands.desk.transcript import Direction
from manyhands.model.escaping import escape
from manyhands.model.socket_addresses import format_address

_ANSWER_OF_A_SYSTEM = 1.0
"""Seconds for the system of a caller who has stopped talking to answer that nobody is there any more."""


class Reception:
    """Serves calls: hears what callers say, keeps it, and shows it to the operator.

    Parameters
    ----------
    switchboard : Switchboard
        Who is on the line.
    keeper : Keeper
        Keeps what is said before it is shown.
    screen : Screen
        The operator's.
    settings : Settings
        The longest line, the outbox of a caller who does not read, and the greeting.

    Notes
    -----
    `serve` is called in a thread, or a fiber, of each call's own.
    """

    def __init__(
        self, switchboard: Switchboard, keeper: Keeper, screen: Screen, settings: Settings
    ) -> None:
        self._switchboard = switchboard
        self._keeper = keeper
        self._screen = screen
        self._settings = settings
        self.is_unattended = False
        """Whether the operator has stopped answering, so that nobody needs to listen any more."""

    def serve(self, request: Any, client_address: Any, server: object = None) -> None:  # noqa: ARG002 - a handler
        """Serve one call to its end: what `manyhands.Server` takes as a handler."""
        peer = escape(format_address(client_address))
        try:
            line = Line(request, self._settings.outbox)
        except OSError as error:
            self._screen.show([notice(f"{peer} called and could not be served: {error.strerror}")])
            return
        self._serve(line, peer)

    def _serve(self, line: Line, peer: str) -> None:
        # Whoever is in the middle of a line is typing it for somebody else.
        may_be_current = not self._screen.is_typing()
        call = self._switchboard.connect(line, peer, may_be_current=may_be_current)
        try:
            self._welcome(call)
            self._leave(call, self._converse(call, line))
        finally:
            self._switchboard.disconnect(call)
            line.finish()

    def _welcome(self, call: Call) -> None:
        self._keeper.call_opened(call)
        self._show(call, notice(f"{call.label} has called in", call.number))
        self._screen.refresh()
        greeting = self._settings.greeting
        if greeting is not None:
            self._keeper.said(Direction.NOTICE, [(call, greeting)])
            call.line.say(greeting)

    def _converse(self, call: Call, line: Line) -> Ending:
        if call.came_too_late:
            line.say(from_the_desk("the desk is closing"))
            return Ending.DESK_CLOSED
        try:
            for messages in line.hear(MessageDecoder(self._settings.max_line)):
                if self._hear(call, messages):
                    return Ending.BYEBYE
            return line.ending or self._listen_only(call, line)
        except LineTooLong as too_long:
            self._notify(call, f"a line may have {too_long.limit} bytes; this call is ended")
            return Ending.LINE_TOO_LONG
        except OSError:
            return line.ending or Ending.LOST

    def _hear(self, call: Call, messages: list[Message]) -> bool:
        """Keep and show what a caller says; return whether it says goodbye."""
        goodbye = next((n for n, m in enumerate(messages) if verbs.is_goodbye(m.text)), None)
        if goodbye is not None:
            messages = messages[: goodbye + 1]
        said = [(call, m.text) for m in messages if verbs.name_in(m.text) is None]
        self._keeper.said(Direction.IN, said)
        self._switchboard.spoke(call, len(said))
        self._show(call, *chain.from_iterable(self._understood(call, m) for m in messages))
        self._screen.refresh()
        self._tell_of_repairs(call, messages)
        if goodbye is not None:
            self._keeper.said(Direction.NOTICE, [(call, "byebye")])
            call.line.say("byebye")
        return goodbye is not None

    def _understood(self, call: Call, message: Message) -> Iterable[Shown]:
        name = verbs.name_in(message.text)
        if name is None:
            return [Shown(call.label, escape(message.text), call.number, is_said=True)]
        if not verbs.is_good_name(name):
            self._notify(
                call,
                f"a name has 1 to {verbs.LONGEST_NAME} printable characters and is not a number",
            )
            return []
        before, call.name = call.label, name
        self._keeper.call_named(call)
        return [notice(f"{before} is called {name}", call.number)]

    def _tell_of_repairs(self, call: Call, messages: list[Message]) -> None:
        if not call.was_repaired and any(message.is_repaired for message in messages):
            call.was_repaired = True
            self._notify(
                call, "some of what you sent is not UTF-8 and is shown as \N{REPLACEMENT CHARACTER}"
            )

    def _listen_only(self, call: Call, line: Line) -> Ending:
        """Keep the line open for a caller who has stopped talking, if it is still there."""
        line.say(from_the_desk("you have stopped talking; the line stays open for the answer"))
        if not line.wait_for_hang_up(_ANSWER_OF_A_SYSTEM) and not self.is_unattended:
            call.only_listens = True
            self._show(
                call, notice(f"{call.label} has stopped talking and only listens", call.number)
            )
            line.wait_for_hang_up()
        return line.ending or Ending.HUNG_UP

    def _leave(self, call: Call, ending: Ending) -> None:
        self._keeper.call_ended(call, ending)
        was_current = self._switchboard.disconnect(call)
        if ending is Ending.DESK_CLOSED:
            return
        self._show(call, notice(f"{call.label} has left: {ending}", call.number))
        if was_current and self._switchboard.calls:
            there = self._switchboard.who_is_there()
            self._show(call, notice(f"nobody is being answered now; /to N chooses, there {there}"))
        self._screen.refresh()

    def _notify(self, call: Call, text: str) -> None:
        self._keeper.said(Direction.NOTICE, [(call, text)])
        call.line.say(from_the_desk(text))

    def _show(self, call: Call, *lines: Shown) -> None:
        self._screen.show(lines, source=call.number)
