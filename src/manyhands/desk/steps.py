"""The steps of calls at the desk: generators that yield what is to be kept, or shown, and go on when it is.

So a step is the same for a call whose own thread waits for that, and for the calls of a worker, of which many
are kept together and none waits for the screen.
"""

from collections.abc import Generator, Sequence
from typing import Any, NamedTuple, TypeVar

from manyhands.desk.screens import Screen, ScreenLine
from manyhands.desk.switchboard import Call
from manyhands.desk.transcript_writer import Piece, TranscriptWriter


class Keep(NamedTuple):
    """What a step has kept before it goes on."""

    pieces: Sequence[Piece]


class Show(NamedTuple):
    """What a step has shown to the operator, and of which call."""

    lines: Sequence[ScreenLine]
    call: Call


Result = TypeVar("Result")

Step = Generator[Keep | Show, None, Result]


class StepRunner:
    """Carries out steps. Thread-safe, and fibers may wait in it.

    Parameters
    ----------
    writer : TranscriptWriter
        Keeps what they yield.
    screen : Screen
        Shows it.
    """

    def __init__(self, writer: TranscriptWriter, screen: Screen) -> None:
        self._writer = writer
        self._screen = screen

    def run(self, step: Step[Result]) -> Result:
        """Carry a step out in the thread, or the fiber, of its call, which waits meanwhile."""
        try:
            while True:
                due = next(step)
                if isinstance(due, Keep):
                    self._writer.keep(*due.pieces)
                else:
                    self._screen.show(due.lines, source=due.call.number)
        except StopIteration as end:
            result: Result = end.value
            return result
        finally:
            step.close()

    def run_together(self, steps: Sequence[Step[Any]]) -> list[Any]:
        """Carry out steps of different calls, without waiting for the screen; what they keep is one commit.

        Returns
        -------
        list
            What each of them returns, in their order; an exception where one has failed.
        """
        results: list[Any] = [None] * len(steps)
        under_way = dict(enumerate(steps))
        while under_way:
            pieces: list[Piece] = []
            for position, step in list(under_way.items()):
                try:
                    pieces += self._until_it_keeps(step)
                except StopIteration as end:
                    results[position] = end.value
                    del under_way[position]
                except Exception as error:  # noqa: BLE001 - of one call; the others go on
                    results[position] = error
                    del under_way[position]
            try:
                self._writer.keep(*pieces)
            except Exception as error:  # noqa: BLE001 - as above, of all of them
                for position, step in under_way.items():
                    step.close()
                    results[position] = error
                under_way.clear()
        return results

    def _until_it_keeps(self, step: Step[Any]) -> Sequence[Piece]:
        while True:
            due = next(step)
            if isinstance(due, Keep):
                return due.pieces
            self._screen.show_soon(due.lines, due.call.number)
