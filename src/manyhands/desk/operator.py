"""The operator's side of the desk: carries out what is typed."""

from collections.abc import Sequence

from manyhands.desk import verbs
from manyhands.desk.call import Call
from manyhands.desk.endings import Ending
from manyhands.desk.keeper import Keeper
from manyhands.desk.shown import Screen, Shown, notice
from manyhands.desk.switchboard import NoSuchCaller, Switchboard
from manyhands.desk.transcript import Direction
from manyhands.model.escaping import encodable, escape


class Operator:
    """Carries out the operator's lines.

    Parameters
    ----------
    switchboard : Switchboard
        Who is on the line.
    keeper : Keeper
        Keeps what is said before it is said.
    screen : Screen
        Where the operator is told what came of it.

    Notes
    -----
    For one thread, the operator's.
    """

    def __init__(self, switchboard: Switchboard, keeper: Keeper, screen: Screen) -> None:
        self._switchboard = switchboard
        self._keeper = keeper
        self._screen = screen

    def carry_out(self, line: str) -> bool:
        """Carry out one line; return False when the operator wants to close the desk."""
        try:
            order = verbs.parse(encodable(line))
            if isinstance(order, verbs.Quit):
                return False
            self._carry_out(order)
        except (verbs.NotUnderstood, NoSuchCaller) as why:
            self._tell(str(why))
        self._screen.refresh()
        return True

    def _carry_out(self, order: verbs.Order) -> None:
        match order:
            case verbs.Answer(text):
                self._answer(text)
            case verbs.All(text):
                self._say_to_all(text)
            case verbs.To(whom):
                self._turn_to(self._switchboard.find(whom))
            case verbs.Kick(whom):
                self._kick(self._switchboard.find(whom))
            case verbs.List():
                self._list()
            case verbs.Help():
                self._tell(*verbs.HELP)

    def _answer(self, text: str) -> None:
        call = self._switchboard.current
        if call is None:
            raise NoSuchCaller(self._nobody_to_answer())
        self._say([call], text, f"you to {call.label}", call.number)
        self._switchboard.choose(call)

    def _nobody_to_answer(self) -> str:
        if not self._switchboard.calls:
            return "that was said to nobody: nobody is on the line"
        there = self._switchboard.who_is_there()
        return f"that was said to nobody: /to N chooses whom to answer; there {there}"

    def _say_to_all(self, text: str) -> None:
        calls = self._switchboard.calls
        if not calls:
            raise NoSuchCaller("that was said to nobody: nobody is on the line")
        self._say(calls, text, "you to all")

    def _say(self, calls: Sequence[Call], text: str, label: str, number: int | None = None) -> None:
        lines = text.split("\n")
        self._keeper.said(Direction.OUT, [(call, line) for call in calls for line in lines])
        self._screen.show(
            [Shown(label, escape(line), number, is_said=True, is_own=True) for line in lines]
        )
        for call in calls:
            call.line.say(text)

    def _turn_to(self, call: Call) -> None:
        self._switchboard.choose(call)
        self._tell(f"you are answering {call.label} now", number=call.number)

    def _kick(self, call: Call) -> None:
        self._end([call], "the operator has ended the call", Ending.KICKED)

    def _list(self) -> None:
        calls = self._switchboard.calls
        if not calls:
            self._tell("nobody is on the line")
        current = self._switchboard.current
        self._tell(*(_described(call, is_current=call is current) for call in calls))

    def close(self) -> None:
        """Say goodbye to everybody, end all calls, and take no more."""
        self._end(self._switchboard.close(), "the desk is closing", Ending.DESK_CLOSED)

    def stop_listening(self) -> None:
        """End the calls of those who have stopped talking, for the operator has stopped answering."""
        for call in self._switchboard.calls:
            if call.only_listens:
                call.line.hang_up(Ending.HUNG_UP)

    def _end(self, calls: Sequence[Call], goodbye: str, ending: Ending) -> None:
        self._keeper.said(Direction.NOTICE, [(call, goodbye) for call in calls])
        for call in calls:
            call.line.say(from_the_desk(goodbye))
            call.line.hang_up(ending)

    def _tell(self, *texts: str, number: int | None = None) -> None:
        self._screen.show([notice(text, number) for text in texts])


def from_the_desk(text: str) -> str:
    """Mark a line to a caller as the desk's own word, not the operator's."""
    return f"desk: {text}"


def _described(call: Call, *, is_current: bool) -> str:
    facts = [call.label, f"from {call.peer}", f"since {call.opened_at:%H:%M:%S}"]
    if call.unread:
        facts.append(f"{call.unread} unread")
    if call.only_listens:
        facts.append("only listens")
    if is_current:
        facts.append("you are answering")
    return ", ".join(facts)
