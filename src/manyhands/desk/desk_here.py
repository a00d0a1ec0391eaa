"""The desk in the process that serves its calls, as their handlers have it."""

from collections.abc import Sequence

from manyhands.desk.call_handler import CallAtDesk
from manyhands.desk.call_io import CallIO, Ending
from manyhands.desk.messages import Message
from manyhands.desk.reception import Reception
from manyhands.desk.steps import StepRunner
from manyhands.desk.switchboard import Speaker


class DeskHere:
    """The desk, for calls that are served in its process: a `call_handler.Desk`.

    Parameters
    ----------
    reception : Reception
        Says which steps are taken about a call.
    runner : StepRunner
        Takes them.
    """

    def __init__(self, reception: Reception, runner: StepRunner) -> None:
        self._reception = reception
        self._runner = runner

    def take(self, connection: CallIO, peer: str, connection_number: int) -> CallAtDesk:  # noqa: ARG002 - of all
        """Enter a call, and welcome the caller."""
        return _CallHere(self._reception, self._runner, connection, peer)

    def tell(self, sentence: str) -> None:
        """Tell the operator what is no call's."""
        self._reception.tell(sentence)


class _CallHere:
    """A call that is served in the process of its desk."""

    __slots__ = ("_call", "_reception", "_run")

    def __init__(
        self, reception: Reception, runner: StepRunner, connection: Speaker, peer: str
    ) -> None:
        self._reception = reception
        self._run = runner.run
        self._call = runner.run(reception.take(connection, peer))

    @property
    def came_too_late(self) -> bool:
        return self._call.came_too_late

    def hear(self, messages: Sequence[Message]) -> bool:
        return self._run(self._reception.hear(self._call, messages))

    def speaks_too_fast(self) -> None:
        self._run(self._reception.speaks_too_fast(self._call))

    def only_listens(self) -> bool:
        return self._run(self._reception.only_listens(self._call))

    def spoke_too_long(self, limit: int) -> None:
        self._run(self._reception.spoke_too_long(self._call, limit))

    def leave(self, ending: Ending) -> None:
        self._run(self._reception.leave(self._call, ending))

    def forget(self) -> None:
        self._reception.forget(self._call)
