"""Answers of several workers to one question, and the one answer that comes of them."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple, TypeAlias

from manyhands.control.fleet import WorkerSeen
from manyhands.control.later import Later
from manyhands.control.messages import Refusal
from manyhands.control.protocol import Code
from manyhands.runtime.error_reports import print_uncaught

Params: TypeAlias = Mapping[str, object]


class Answers(NamedTuple):
    """What workers said.

    Attributes
    ----------
    results : list of (WorkerSeen, Any)
        Their results, in the order of their numbers.
    refusals : list of (WorkerSeen, Refusal)
        What others refused to do.
    missing : list of int
        The numbers of those that have not answered in time.
    """

    results: list[tuple[WorkerSeen, Any]]
    refusals: list[tuple[WorkerSeen, Refusal]]
    missing: list[int]

    def refuse_as_they_do(self) -> None:
        """Raise what a worker refuses with, if one does: all of them have the same rules."""
        for _, refused in self.refusals:
            raise refused

    @property
    def told_missing(self) -> dict[str, object]:
        """What an answer says of those that have not answered."""
        return {"missing": self.missing}


class Gathering:
    """The answers of several workers to one question, until all of them are there. For one thread.

    Parameters
    ----------
    asked
        The workers.
    done
        Called with all of them, once.
    """

    def __init__(self, asked: Sequence[WorkerSeen], done: Callable[[Answers], None]) -> None:
        self._asked = asked
        self._done = done
        self._given: dict[int, object] = {}
        self._is_complete = False

    def place(self, position: int) -> Callable[[object], None]:
        """Return what takes the answer of one of them."""

        def answered(outcome: object) -> None:
            self._given[position] = outcome
            self.end_if_complete()

        return answered

    def end_if_complete(self) -> None:
        """Give the answers on, if all are there."""
        if self._is_complete or len(self._given) < len(self._asked):
            return
        self._is_complete = True
        told = [(worker, self._given[place]) for place, worker in enumerate(self._asked)]
        self._done(
            Answers(
                [
                    (worker, given)
                    for worker, given in told
                    if given is not None and not isinstance(given, Refusal)
                ],
                [(worker, given) for worker, given in told if isinstance(given, Refusal)],
                sorted({worker.number for worker, given in told if given is None}),
            )
        )


def guarded(later: Later, act: Callable[[], object]) -> None:
    """Do something for an answer, and give what it raises in the place of that."""
    try:
        act()
    except Refusal as refused:
        later.give(refused)
    except Exception as error:  # noqa: BLE001 - of a worker of another version, say
        print_uncaught(error)
        later.give(Refusal(Code.INTERNAL, f"{type(error).__name__}: {error}"))


def give(later: Later, made: object) -> None:
    """Give an answer, be it one that comes later itself."""
    if isinstance(made, Later):
        made.when_there(lambda: later.give(made.given))
    else:
        later.give(made)
