"""What the desk does about a call: what it keeps, shows and says, step by step (`steps.Step`)."""

import codecs
from collections.abc import Iterator, Sequence
from contextlib import suppress

from manyhands.desk.call_handler import MAINTENANCE, Terms
from manyhands.desk.call_io import Ending
from manyhands.desk.messages import (
    Message,
    from_the_desk,
    is_goodbye,
    name_in,
    says_nothing,
)
from manyhands.desk.screens import Screen, ScreenLine, notice
from manyhands.desk.steps import Keep, Show, Step
from manyhands.desk.switchboard import Call, NameRefused, Speaker, Switchboard
from manyhands.desk.transcript import Direction
from manyhands.desk.transcript_writer import TranscriptWriter
from manyhands.model.escaping import encodable, escape

_CHINESE = ("gbk", "gb18030")
"""What most programs send that send no UTF-8. GBK (Chinese Windows) first, though GB 18030 has all of it: a
program that reads GBK fails at a character of four bytes, such as an emoji of the operator's."""


class Reception:
    """Takes calls: keeps what callers say, and shows it to the operator.

    Parameters
    ----------
    switchboard : Switchboard
        The calls.
    writer : TranscriptWriter
        Keeps what is said before it is shown.
    screen : Screen
        The operator's.
    terms : Terms
        What each caller may do.

    Notes
    -----
    Each call has one step under way at a time; those of several calls may be at the same time.
    """

    def __init__(
        self, switchboard: Switchboard, writer: TranscriptWriter, screen: Screen, terms: Terms
    ) -> None:
        self._switchboard = switchboard
        self._writer = writer
        self._screen = screen
        self._terms = terms
        for name in _CHINESE:
            # Loaded now: when it is needed, there may be no descriptor to read the file of it.
            codecs.lookup(name)
        self.is_unattended = False
        """Whether the operator has stopped answering: then a call ends when the caller stops talking."""

    def take(self, connection: Speaker, peer: str) -> Step[Call]:
        """Enter a call, and welcome the caller."""
        # A line that the operator has begun is meant for another caller.
        may_be_current = not self._screen.is_typing()
        call = self._switchboard.connect(connection, peer, may_be_current=may_be_current)
        try:
            yield from self._welcome(call)
        except BaseException:
            self.forget(call)
            raise
        return call

    def _welcome(self, call: Call) -> Step[None]:
        yield Keep([self._writer.opening(call)])
        yield self._show(call, notice(f"{call.label} has called in", call.number))
        self._screen.refresh()
        if self._terms.greeting is not None:
            greeting = encodable(self._terms.greeting)
            yield self._said(Direction.NOTICE, (call, greeting))
            call.connection.say(greeting)
        if call.came_too_late:
            call.connection.say(from_the_desk("the desk is closing"))

    def hear(self, call: Call, messages: Sequence[Message]) -> Step[bool]:
        """Keep what a caller says, then show it; return whether the caller says goodbye."""
        messages = [message for message in messages if not says_nothing(message.text)]
        goodbye = next((n for n, m in enumerate(messages) if is_goodbye(m.text)), None)
        if goodbye is not None:
            messages = messages[: goodbye + 1]
        said = [(call, m.text) for m in messages if name_in(m.text) is None]
        # First kept, then shown: what the operator has seen is in the transcript.
        if said:
            yield self._said(Direction.IN, *said)
        self._switchboard.spoke(call, len(said))
        lines: list[ScreenLine] = []
        for message in messages:
            name = name_in(message.text)
            if name is None:
                text = escape(message.text)
                lines.append(ScreenLine(call.label, text, call.number, is_said=True))
            else:
                lines += yield from self._name(call, name)
        yield self._show(call, *lines)
        self._screen.refresh()
        yield from self._tell_of_repairs(call, messages)
        if goodbye is not None:
            yield self._said(Direction.NOTICE, (call, "byebye"))
            call.connection.say("byebye")
        return goodbye is not None

    def _name(self, call: Call, name: str) -> Step[list[ScreenLine]]:
        before = call.label
        try:
            namesake = self._switchboard.give_name(call, name)
        except NameRefused as why:
            yield from self._notify(call, str(why))
            return []
        yield Keep([self._writer.naming(call)])
        too = f", and so is {namesake.number}" if namesake is not None else ""
        return [notice(f"{before} is called {name}{too}", call.number)]

    def speaks_too_fast(self, call: Call) -> Step[None]:
        """Tell caller and operator, once, that what is more is heard later."""
        if not call.was_slowed:
            call.was_slowed = True
            rate = f"{self._terms.max_line_rate:g} lines a second"
            yield from self._notify(call, f"you say more than {rate}; what is more is heard later")
            says = f"{call.label} says more than {rate}: the rest is heard later"
            yield self._show(call, notice(says, call.number))

    def _tell_of_repairs(self, call: Call, messages: Sequence[Message]) -> Step[None]:
        repaired = next((message for message in messages if message.is_repaired), None)
        if repaired is None or call.was_repaired:
            return
        call.was_repaired = True
        name = call.connection.encoding
        # In ASCII, which is the same in what the caller does speak.
        sent = f"some of what you sent is not {name.upper()} and cannot be read"
        yield from self._notify(call, sent)
        says = f"{call.label} does not send {name.upper()}"
        order = f"/encoding {call.number}"
        guess = next(_in_chinese(repaired.original), None)
        if guess is not None:
            name, text = guess
            says += f"; in {name} this would be {text!r}: {order} {name} has it read so"
        else:
            says += f": {order} NAME has it read in another encoding"
        yield self._show(call, notice(says, call.number))

    def only_listens(self, call: Call) -> Step[bool]:
        """Note that the caller has stopped talking; return False where nobody answers any more.

        Once more does no harm, as from another worker that goes on with the call.
        """
        is_known = call.only_listens
        # In this order: whoever has the desk unattended hangs up on those that only listen.
        call.only_listens = True
        if self.is_unattended:
            return False
        if is_known:
            return True
        stopped = f"{call.label} has stopped talking and only listens"
        yield self._show(call, notice(stopped, call.number))
        return True

    def spoke_too_long(self, call: Call, limit: int) -> Step[None]:
        """Tell the caller that a line was too long."""
        yield from self._notify(call, f"a line may have {limit} bytes; this call is ended")

    def leave(self, call: Call, ending: Ending) -> Step[None]:
        """Note that a call has ended."""
        end = self._writer.end(call, ending)
        if ending is Ending.WORKER_LEFT:
            yield Keep([self._writer.messages(Direction.NOTICE, [(call, MAINTENANCE)]), end])
        else:
            yield Keep([end])
        was_current = self._switchboard.disconnect(call)
        # The operator knows; a thousand lines of farewell would bury what was said last.
        if ending is Ending.DESK_CLOSED:
            return
        yield self._show(call, notice(f"{call.label} has left: {ending}", call.number))
        if was_current and self._switchboard.calls:
            there = self._switchboard.who_is_there()
            nobody = f"nobody is being answered now; /to N chooses, there {there}"
            yield self._show(call, notice(nobody))
        self._screen.refresh()

    def forget(self, call: Call) -> None:
        """Know a call no more, whatever has ended it. Once more does no harm."""
        self._switchboard.disconnect(call)

    def tell(self, sentence: str) -> None:
        """Tell the operator what is no call's."""
        self._screen.show([notice(sentence)])

    def _said(self, direction: Direction, *said: tuple[Call, str]) -> Keep:
        return Keep([self._writer.messages(direction, said)])

    def _notify(self, call: Call, text: str) -> Step[None]:
        yield self._said(Direction.NOTICE, (call, text))
        call.connection.say(from_the_desk(text))

    @staticmethod
    def _show(call: Call, *lines: ScreenLine) -> Show:
        return Show(lines, call)


def _in_chinese(data: bytes) -> Iterator[tuple[str, str]]:
    """Give back the Chinese encodings in which bytes are a text, and the text."""
    for name in _CHINESE:
        with suppress(UnicodeDecodeError):
            text = data.decode(name)
            if text.isprintable():
                yield name, text
