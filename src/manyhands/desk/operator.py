"""The operator's side of the desk: what a typed line means, and what it does."""

from collections.abc import Sequence
from typing import NamedTuple

from manyhands.desk.call_io import Ending
from manyhands.desk.encodings import UTF_8, encoding, unwritable
from manyhands.desk.messages import from_the_desk
from manyhands.desk.screens import Screen, ScreenLine, notice
from manyhands.desk.speaker_elsewhere import say_to_all
from manyhands.desk.switchboard import Call, NoSuchCaller, Switchboard
from manyhands.desk.transcript import Direction
from manyhands.desk.transcript_writer import TranscriptWriter
from manyhands.model.escaping import encodable, escape
from manyhands.model.usage_errors import Mistake

HELP = (
    "TEXT              answer the current caller",
    "/to N             make N the current caller; N is a number or a name, here and below",
    "/all TEXT         say it to everybody on the line",
    "/list             show who is on the line",
    "/kick N           end the call of N",
    "/encoding N NAME  read and write the lines of N in NAME, as gbk",
    "/help             show this",
    "/quit             close the desk",
    "//TEXT            answer with a line that begins with a slash",
)

_NO_CALLERS = "nobody is on the line"
_NOT_SAID = "that was said to nobody"

_VERBS = {
    "/to": "N",
    "/all": "TEXT",
    "/list": "",
    "/kick": "N",
    "/encoding": "N NAME",
    "/help": "",
    "/quit": "",
}
"""What each verb needs after it."""

VERBS = tuple(sorted(_VERBS))
"""All verbs, for completion."""


class Order(NamedTuple):
    """What the operator wants.

    Attributes
    ----------
    verb : str or None
        One of `VERBS`; None: answer the current caller.
    words : str
        What is to be said, or the number or name of a caller.
    """

    verb: str | None
    words: str = ""


class NotUnderstood(ValueError):  # noqa: N818 - what the operator is told
    """The operator's line is no order; the text says why, in one sentence."""


def parse(line: str) -> Order | None:
    """Read one line of the operator; None when it is empty.

    Raises
    ------
    NotUnderstood
        It begins with a slash and is no verb, or has too many words or too few.
    """
    if not line.strip():
        return None
    if line.startswith("//"):
        return Order(None, line[1:])
    if not line.startswith("/"):
        return Order(None, line)
    verb, *rest = line.rstrip().split(maxsplit=1)
    words = "".join(rest)
    if verb not in _VERBS:
        raise NotUnderstood(
            f"there is no verb {verb}, only {', '.join(VERBS)}; "
            f"a line that begins with a slash is typed with two, /{verb}"
        )
    needed = _VERBS[verb]
    if needed and not words:
        raise NotUnderstood(f"{verb} needs more: {verb} {needed}")
    if words and not needed:
        raise NotUnderstood(f"{verb} stands alone")
    return Order(verb, words)


class Operator:
    """Carries out the operator's lines.

    Parameters
    ----------
    switchboard : Switchboard
        The calls.
    writer : TranscriptWriter
        Keeps what is said before it is said.
    screen : Screen
        The operator's.

    Notes
    -----
    For one thread, the operator's.
    """

    def __init__(self, switchboard: Switchboard, writer: TranscriptWriter, screen: Screen) -> None:
        self._switchboard = switchboard
        self._writer = writer
        self._screen = screen

    def carry_out(self, line: str) -> bool:
        """Carry out one line; return False when the operator wants to close the desk."""
        try:
            # Bytes that are no UTF-8 come as surrogates, which neither SQLite nor a socket takes.
            order = parse(encodable(line))
            if order == Order("/quit"):
                return False
            if order is not None:
                self._carry_out(order)
        except (NotUnderstood, NoSuchCaller) as why:
            self._tell(str(why))
        self._screen.refresh()
        return True

    def _carry_out(self, order: Order) -> None:
        match order:
            case None, text:
                self._answer(text)
            case "/all", text:
                self._say_to_all(text)
            case "/to", caller:
                self._turn_to(self._switchboard.find(caller))
            case "/kick", caller:
                self._kick(self._switchboard.find(caller))
            case "/encoding", words:
                self._read_in(words)
            case "/list", _:
                self._list()
            case "/help", _:
                self._tell(*HELP)

    def _answer(self, text: str) -> None:
        call = self._switchboard.current
        if call is None:
            raise NoSuchCaller(self._sentence_without_a_current_caller())
        self._say([call], text, f"you to {call.label}", call.number)
        # Its unread lines are read now. (Or the caller has gone meanwhile, which is said so.)
        self._switchboard.choose(call)

    def _sentence_without_a_current_caller(self) -> str:
        if not self._switchboard.calls:
            return f"{_NOT_SAID}: {_NO_CALLERS}"
        there = self._switchboard.who_is_there()
        return f"{_NOT_SAID}: /to N chooses whom to answer; there {there}"

    def _say_to_all(self, text: str) -> None:
        calls = self._switchboard.calls
        if not calls:
            raise NoSuchCaller(f"{_NOT_SAID}: {_NO_CALLERS}")
        self._say(calls, text, "you to all")

    def _say(self, calls: Sequence[Call], text: str, label: str, number: int | None = None) -> None:
        lines = text.split("\n")
        # First kept, then shown, then sent: what a caller has read is in the transcript, come what may.
        self._writer.said(Direction.OUT, [(call, line) for call in calls for line in lines])
        self._screen.show(
            [ScreenLine(label, escape(line), number, is_said=True, is_own=True) for line in lines]
        )
        say_to_all([call.connection for call in calls], text)
        for name in sorted({call.connection.encoding for call in calls} - {UTF_8}):
            if missing := unwritable(text, name):
                self._tell(f"{name} has no {missing}: sent as {'?' * len(missing)}")

    def _read_in(self, words: str) -> None:
        caller, _, name = words.rpartition(" ")
        if not caller:
            raise NotUnderstood("/encoding needs more: /encoding N NAME")
        call = self._switchboard.find(caller.strip())
        try:
            call.connection.encoding = encoding(name)
        except Mistake as mistake:
            raise NotUnderstood(str(mistake)) from None
        # What is no text in the new encoding is to be told of again.
        call.was_repaired = False
        self._tell(
            f"{call.label} is read and written in {call.connection.encoding}", number=call.number
        )

    def _turn_to(self, call: Call) -> None:
        self._switchboard.choose(call)
        self._tell(f"you are answering {call.label} now", number=call.number)

    def _kick(self, call: Call) -> None:
        self._end([call], "the operator has ended the call", Ending.KICKED)

    def _list(self) -> None:
        calls = self._switchboard.calls
        if not calls:
            self._tell(_NO_CALLERS)
        current = self._switchboard.current
        self._tell(*(_described(call, is_current=call is current) for call in calls))

    def close(self) -> None:
        """Say goodbye to all callers, end their calls, and take no more."""
        self._end(self._switchboard.close(), "the desk is closing", Ending.DESK_CLOSED)

    def stop_answering(self) -> None:
        """End the calls of callers who have stopped talking: they only wait for answers."""
        for call in self._switchboard.calls:
            if call.only_listens:
                call.connection.hang_up(Ending.HUNG_UP)

    def _end(self, calls: Sequence[Call], goodbye: str, ending: Ending) -> None:
        self._writer.said(Direction.NOTICE, [(call, goodbye) for call in calls])
        say_to_all([call.connection for call in calls], from_the_desk(goodbye))
        for call in calls:
            call.connection.hang_up(ending)

    def _tell(self, *texts: str, number: int | None = None) -> None:
        self._screen.show([notice(text, number) for text in texts])


def _described(call: Call, *, is_current: bool) -> str:
    facts = [call.label, f"from {call.peer}", f"since {call.opened_at:%H:%M:%S}"]
    if call.unread:
        facts.append(f"{call.unread} unread")
    if call.connection.encoding != UTF_8:
        facts.append(f"speaks {call.connection.encoding}")
    if call.only_listens:
        facts.append("only listens")
    if is_current:
        facts.append("you are answering")
    return ", ".join(facts)
