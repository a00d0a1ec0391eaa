"""The caller's side of the desk: the plain, blocking handler of each call."""

import codecs
import time
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from itertools import chain
from typing import Any

from manyhands.admission.rate_limits import Pace, TokenBucket
from manyhands.connections.connection import current_connection
from manyhands.connections.outboxes import outbox_of
from manyhands.desk.call_io import CallIO, Ending
from manyhands.desk.encodings import UTF_8
from manyhands.desk.messages import (
    LINE_LIMIT,
    LineTooLong,
    Message,
    MessageDecoder,
    is_goodbye,
    name_in,
    says_nothing,
)
from manyhands.desk.operator import from_the_desk
from manyhands.desk.screens import Screen, ScreenLine, notice
from manyhands.desk.switchboard import Call, NameRefused, Switchboard
from manyhands.desk.transcript import Direction
from manyhands.desk.transcript_writer import TranscriptWriter
from manyhands.model.escaping import encodable, escape
from manyhands.model.socket_addresses import format_address

_CHINESE = ("gbk", "gb18030")
"""What most programs send that send no UTF-8. GBK (Chinese Windows) first, though GB 18030 has all of it: a
program that reads GBK fails at a character of four bytes, such as an emoji of the operator's."""

_ANSWER_OF_A_SYSTEM = 1.0
"""Seconds for the system of a caller who has stopped talking to answer that the caller has gone (RST)."""

LINE_RATE = 100.0
"""Lines a second that a caller may say: far more than a person types, and a small part of the desk's time."""

LINE_BURST = 1000
"""Lines that a caller may say at once: what is pasted, or what a script has to say."""

_MOST_AT_ONCE = 100
"""Lines of one caller that are kept and shown in one go. Those of all others wait that long."""

_REST = 0.2
"""Seconds at least that a caller who says too much is not heard: many lines are kept together then."""


@dataclass(frozen=True, slots=True)
class Terms:
    """What each caller may do.

    Attributes
    ----------
    max_line : int
        Bytes of the longest line that a caller may say.
    max_line_rate : float
        Lines a second that a caller may say. One that says more is heard later: nothing of it is lost.
    line_burst : int
        Lines that a caller may say at once.
    greeting : str or None
        Said to each caller first.
    encoding : str
        What callers' lines are read as, and lines to them written in; one of `encodings`.
    """

    max_line: int = LINE_LIMIT
    max_line_rate: float = LINE_RATE
    line_burst: int = LINE_BURST
    greeting: str | None = None
    encoding: str = UTF_8


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
    terms : Terms
        What each caller may do.

    Notes
    -----
    `serve` is called in a thread, or a fiber, of each call's own.
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
        self._pace = Pace(terms.max_line_rate, terms.line_burst)
        # No longer than a bucket takes to fill up: the tokens of a full one that goes on resting are lost.
        self._rest = min(_REST, self._pace.burst * self._pace.interval)
        self.is_unattended = False
        """Whether the operator has stopped answering: then a call ends when the caller stops talking."""

    def serve(self, request: Any, client_address: Any, server: object = None) -> None:  # noqa: ARG002 - a handler
        """Serve one call to its end: what `manyhands.Server` takes as a handler."""
        peer = format_address(client_address)
        if not isinstance(client_address, tuple):
            # A client chooses the path of its own Unix socket, and could write another label into its own.
            peer = peer.replace("[", r"\x5b").replace("]", r"\x5d")
        served = current_connection()
        outbox = None if served is None else outbox_of(served)
        if outbox is None:
            return  # the server has ended it meanwhile
        try:
            connection = CallIO(request, outbox)
        except OSError as error:
            self._screen.show([notice(f"{peer} called and could not be served: {error.strerror}")])
            return
        connection.encoding = self._terms.encoding
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
        if self._terms.greeting is not None:
            greeting = encodable(self._terms.greeting)
            self._writer.said(Direction.NOTICE, [(call, greeting)])
            call.connection.say(greeting)

    def _converse(self, call: Call, connection: CallIO) -> Ending:
        if call.came_too_late:
            connection.say(from_the_desk("the desk is closing"))
            return Ending.DESK_CLOSED
        try:
            decoder = MessageDecoder(self._terms.max_line, merges_empty_lines=True)
            bucket = TokenBucket(self._pace)
            for messages in connection.hear(decoder):
                if self._hear_in_time(call, connection, messages, bucket):
                    return Ending.BYEBYE
            return connection.ending or self._listen_only(call, connection)
        except LineTooLong as too_long:
            self._notify(call, f"a line may have {too_long.limit} bytes; this call is ended")
            return Ending.LINE_TOO_LONG
        except OSError:
            return connection.ending or Ending.LOST

    def _hear_in_time(
        self, call: Call, connection: CallIO, messages: list[Message], bucket: TokenBucket
    ) -> bool:
        """Hear what a caller says no faster than it may speak; return whether the caller says goodbye."""
        while messages and connection.ending is None:
            now = time.monotonic()
            count = bucket.take_several(min(len(messages), _MOST_AT_ONCE), now)
            if not count:
                # Nothing is received meanwhile either: what is more waits at the caller's own end.
                self._tell_of_the_rate(call)
                connection.pause(max(self._rest, bucket.wait(now)))
            elif self._hear(call, messages[:count]):
                return True
            else:
                messages = messages[count:]
        return False

    def _hear(self, call: Call, messages: list[Message]) -> bool:
        """Keep what a caller says, then show it; return whether the caller says goodbye."""
        messages = [message for message in messages if not says_nothing(message.text)]
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
        before = call.label
        try:
            namesake = self._switchboard.give_name(call, name)
        except NameRefused as why:
            self._notify(call, str(why))
            return []
        self._writer.call_named(call)
        too = f", and so is {namesake.number}" if namesake is not None else ""
        return [notice(f"{before} is called {name}{too}", call.number)]

    def _tell_of_the_rate(self, call: Call) -> None:
        if not call.was_slowed:
            call.was_slowed = True
            rate = f"{self._terms.max_line_rate:g} lines a second"
            self._notify(call, f"you say more than {rate}; what is more is heard later")
            self._show(
                call,
                notice(f"{call.label} says more than {rate}: the rest is heard later", call.number),
            )

    def _tell_of_repairs(self, call: Call, messages: list[Message]) -> None:
        repaired = next((message for message in messages if message.is_repaired), None)
        if repaired is None or call.was_repaired:
            return
        call.was_repaired = True
        name = call.connection.encoding
        # In ASCII, which is the same in what the caller does speak.
        self._notify(call, f"some of what you sent is not {name.upper()} and cannot be read")
        says = f"{call.label} does not send {name.upper()}"
        order = f"/encoding {call.number}"
        guess = next(_in_chinese(repaired.original), None)
        if guess is not None:
            name, text = guess
            says += f"; in {name} this would be {text!r}: {order} {name} has it read so"
        else:
            says += f": {order} NAME has it read in another encoding"
        self._show(call, notice(says, call.number))

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


def _in_chinese(data: bytes) -> Iterator[tuple[str, str]]:
    """Give back the Chinese encodings in which bytes are a text, and the text."""
    for name in _CHINESE:
        with suppress(UnicodeDecodeError):
            text = data.decode(name)
            if text.isprintable():
                yield name, text
