"""What comes later, from another process, say: it is waited for, or a function is called with it."""

import contextlib
import itertools
from collections.abc import Callable
from typing import Generic, Protocol, TypeVar

from manyhands.runtime.locks import Latch

Result = TypeVar("Result")


class Patience(Protocol):
    """How long is waited for what another process gives."""

    def seconds_left(self) -> float:
        """Return the seconds that the caller may wait now."""

    def ran_out(self) -> None:
        """Note that nothing has come in this time."""


class Pending(Generic[Result]):
    """A result that comes later, or not at all. Thread-safe, for fibers too.

    Parameters
    ----------
    otherwise
        The result where none comes.
    patience : Patience, optional
        How long `wait` waits; without one the result is there: it is `otherwise`.
    """

    __slots__ = ("_acts", "_gifts", "_has_come", "_patience", "_result")

    def __init__(self, otherwise: Result, patience: Patience | None = None) -> None:
        self._result = otherwise
        self._patience = patience
        self._has_come = Latch()
        self._acts: list[Callable[[Result], object]] = []
        self._gifts = itertools.count()
        if patience is None:
            self._has_come.set()

    @property
    def has_come(self) -> bool:
        """Whether the result is there."""
        return self._has_come.is_set()

    @property
    def result(self) -> Result:
        """The result; while it is not there, the one where none comes."""
        return self._result

    def give(self, result: Result) -> None:
        """Have this be the result, if there is none yet."""
        if next(self._gifts):  # one step: of two threads one is the first
            return
        self._result = result
        self._has_come.set()
        self._act()

    def wait(self) -> Result:
        """Wait for the result, as long as the patience lasts."""
        patience = self._patience
        if patience is not None and not self._has_come.wait(patience.seconds_left()):
            patience.ran_out()
        return self._result

    def then(self, act: Callable[[Result], object]) -> None:
        """Have a function called with the result, in the thread that gives it; at once if it is there."""
        self._acts.append(act)
        # Looked at after the entry: `give` looks for entries after the result is there.
        if self._has_come.is_set():
            self._act()

    def _act(self) -> None:
        while self._acts:
            with contextlib.suppress(IndexError):  # another thread has taken it
                self._acts.pop()(self._result)
