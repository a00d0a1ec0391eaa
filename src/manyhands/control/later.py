"""An answer that comes later: the thread that answers clients waits for none."""

from collections.abc import Callable

from manyhands.control.messages import Refusal
from manyhands.control.protocol import Code


class Later:
    """What a verb returns whose result is not there yet: another thread, or another process, gives it.

    Thread-safe, and takes no lock. What is given first counts.

    Parameters
    ----------
    limit
        Seconds from now on: then the client gets an error.
    late
        What that says.
    """

    def __init__(self, limit: float, late: str) -> None:
        self.limit = limit
        self._late = late
        self._then: Callable[[object], object] | None = None
        self._given: list[object] = []
        self._tell: Callable[[], object] | None = None

    @property
    def is_there(self) -> bool:
        """Whether it has been given."""
        return bool(self._given)

    def give(self, value: object) -> None:
        """Give the result, or the `Refusal` in its place."""
        self._given.append(value)
        if self._tell is not None:
            self._tell()

    def when_there(self, tell: Callable[[], object]) -> None:
        """Have `tell` called when it is given, by the thread that gives it; at once where it was."""
        # In this order: what is given in between is told twice rather than not at all.
        self._tell = tell
        if self._given:
            tell()

    def then(self, finish: Callable[[object], object]) -> "Later":
        """Have the thread that answers make the result of what was given."""
        self._then = finish
        return self

    def give_up(self) -> None:
        """Refuse, where nothing has been given in time."""
        self._given.append(Refusal(Code.NOT_NOW, self._late))

    @property
    def given(self) -> object:
        """What was given first."""
        return self._given[0]

    def outcome(self) -> object:
        """Return the result. For the thread that answers.

        Raises
        ------
        Refusal
            What was given is one.
        """
        if isinstance(self.given, Refusal):
            raise self.given
        return self.given if self._then is None else self._then(self.given)
