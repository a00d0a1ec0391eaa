"""The caller's side of the desk: the plain, blocking handler of each call."""

from collections.abc import Iterable
from itertools import chain
from typing import Any

from manyhands.desk.call_io import CallIO, Ending
from manyhands.desk.messages import (
    LONGEST_NAME,
    LineTooLong,
    Message,
    MessageDecoder,
    is_good_name,
    is_goodbye,
    name_in,
)
from manyhands.desk.operator import from_the_desk
from manyhands.desk.screens import Screen, ScreenLine, notice
from manyhands.desk.switchboard import Call, Switchboard
from manyhands.desk.transcript import Direction
from manyhands.desk.transcript_writer import TranscriptWriter
from manyhands.model.escaping import escape
from manyhands.model.socket_addresses import format_address

_ANSWER_OF_A_SYSTEM = 1.0
"""Seconds for the system of a caller who has stopped talking to answer that the caller has gone (RST)."""


class Reception:
    """Serves calls: hears what callers say, keeps it, and shows it to the operator.

    Parameters
    ----------
    switchboard : Switchboard
        The calls.
    writer : TranscriptWriter
        Keeps what is said before it is shown.
    screen : Screen
        The operator's.
    max_line, outbox, greeting
        As in `desk.Settings`.

    Notes
    -----
    `serve` is called in a thread, or a fiber, of each call's own.
    """

    def __init__(  # noqa: PLR0913 - three of them are settings
        self,
        switchboard: Switchboard,
        writer: TranscriptWriter,
        screen: Screen,
        *,
        max_line: int,
        outbox: int,
        greeting: str | None,
    ) -> None:
        self._switchboard = switchboard
        self._writer = writer
        self._screen = screen
        self._max_line = max_line
        self._outbox = outbox
        self._greeting = greeting
        self.is_unattended = False
        """Whether the operator has stopped answering: then a call ends when the caller stops talking."""

    def serve(self, request: Any, client_address: Any, server: object = None) -> None:  # noqa: ARG002 - a handler
        """Serve one call to its end: what `manyhands.Server` takes as a handler."""
        peer = escape(format_address(client_address))
        try:
            connection = CallIO(request, self._outbox)
        except OSError as error:
            self._screen.show([notice(f"{peer} called and could not be served: {error.strerror}")])
            return
        self._serve(connection, peer)

    def _serve(self, connection: CallIO, peer: str) -> None:
        # A line that the operator has begun is meant for another caller.
        may_be_current = not self._screen.is_typing()
        call = self._switchboard.connect(connection, peer, may_be_current=may_be_current)
        try:
            self._welcome(call)
            self._leave(call, self._converse(call, connection))
        finally:
            # Once more, for a call that an exception has ended: `finish` may take seconds, and the operator
            # is not to find the caller meanwhile.
            self._switchboard.disconnect(call)
            connection.finish()

    def _welcome(self, call: Call) -> None:
        self._writer.call_opened(call)
        self._show(call, notice(f"{call.label} has called in", call.number))
        self._screen.refresh()
        greeting = self._greeting
        if greeting is not None:
            self._writer.said(Direction.NOTICE, [(call, greeting)])
            call.connection.say(greeting)

    def _converse(self, call: Call, connection: CallIO) -> Ending:
        if call.came_too_late:
            connection.say(from_the_desk("the desk is closing"))
            return Ending.DESK_CLOSED
        try:
            for messages in connection.hear(MessageDecoder(self._max_line)):
                if self._hear(call, messages):
                    return Ending.BYEBYE
            return connection.ending or self._listen_only(call, connection)
        except LineTooLong as too_long:
            self._notify(call, f"a line may have {too_long.limit} bytes; this call is ended")
            return Ending.LINE_TOO_LONG
        except OSError:
            return connection.ending or Ending.LOST

    def _hear(self, call: Call, messages: list[Message]) -> bool:
        """Keep what a caller says, then show it; return whether the caller says goodbye."""
        goodbye = next((n for n, m in enumerate(messages) if is_goodbye(m.text)), None)
        if goodbye is not None:
            messages = messages[: goodbye + 1]
        said = [(call, m.text) for m in messages if name_in(m.text) is None]
        # First kept, then shown: what the operator has seen is in the transcript.
        self._writer.said(Direction.IN, said)
        self._switchboard.spoke(call, len(said))
        self._show(call, *chain.from_iterable(self._understood(call, m) for m in messages))
        self._screen.refresh()
        self._tell_of_repairs(call, messages)
        if goodbye is not None:
            self._writer.said(Direction.NOTICE, [(call, "byebye")])
            call.connection.say("byebye")
        return goodbye is not None

    def _understood(self, call: Call, message: Message) -> Iterable[ScreenLine]:
        name = name_in(message.text)
        if name is None:
            return [ScreenLine(call.label, escape(message.text), call.number, is_said=True)]
        if not is_good_name(name):
            self._notify(
                call,
                f"a name has 1 to {LONGEST_NAME} printable characters and is not a number",
            )
            return []
        before, call.name = call.label, name
        self._writer.call_named(call)
        return [notice(f"{before} is called {name}", call.number)]

    def _tell_of_repairs(self, call: Call, messages: list[Message]) -> None:
        if not call.was_repaired and any(message.is_repaired for message in messages):
            call.was_repaired = True
            self._notify(
                call, "some of what you sent is not UTF-8 and is shown as \N{REPLACEMENT CHARACTER}"
            )

    def _listen_only(self, call: Call, connection: CallIO) -> Ending:
        """Keep the call open for a caller who has stopped talking, if the caller is still there."""
        # Saying something is also how to find out: the system of a caller that has gone answers with RST.
        connection.say(
            from_the_desk("you have stopped talking; the line stays open for the answer")
        )
        if not connection.wait_for_hang_up(_ANSWER_OF_A_SYSTEM) and not self.is_unattended:
            call.only_listens = True
            self._show(
                call, notice(f"{call.label} has stopped talking and only listens", call.number)
            )
            connection.wait_for_hang_up()
        return connection.ending or Ending.HUNG_UP

    def _leave(self, call: Call, ending: Ending) -> None:
        self._writer.call_ended(call, ending)
        was_current = self._switchboard.disconnect(call)
        # The operator knows; a thousand lines of farewell would bury what was said last.
        if ending is Ending.DESK_CLOSED:
            return
        self._show(call, notice(f"{call.label} has left: {ending}", call.number))
        if was_current and self._switchboard.calls:
            there = self._switchboard.who_is_there()
            self._show(call, notice(f"nobody is being answered now; /to N chooses, there {there}"))
        self._screen.refresh()

    def _notify(self, call: Call, text: str) -> None:
        self._writer.said(Direction.NOTICE, [(call, text)])
        call.connection.say(from_the_desk(text))

    def _show(self, call: Call, *lines: ScreenLine) -> None:
        self._screen.show(lines, source=call.number)
