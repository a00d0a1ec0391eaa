"""What the operator is shown: lines of labelled pieces that a screen colours, or writes plainly."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Protocol, Self

from manyhands.model.escaping import escape


@dataclass(frozen=True, slots=True)
class Shown:
    """One line on the operator's screen, safe to print: everything from outside is escaped.

    Attributes
    ----------
    label : str
        Whom it is from or about; ``""`` for the desk itself.
    text : str
        The line.
    number : int or None
        The caller's number, after which the label is coloured.
    is_said : bool
        Whether somebody said it; else it is the desk's word about somebody or something.
    is_own : bool
        Whether it was said by the person at this screen.
    """

    label: str
    text: str
    number: int | None = None
    is_said: bool = False
    is_own: bool = False

    def __str__(self) -> str:
        if not self.is_said:
            return f"-- {self.text}"
        return f"[{self.label}] {self.text}" if self.label else self.text


def notice(text: str, number: int | None = None) -> Shown:
    """Make a line about the desk or, with a number, about a caller."""
    return Shown("", escape(text), number)


class Screen(Protocol):
    """Where a person sees lines.

    Notes
    -----
    Both methods may be called from any thread.
    """

    def show(self, lines: Sequence[Shown], source: int | None = None) -> None:
        """Show lines, in order.

        Parameters
        ----------
        lines : sequence of Shown
            What to show.
        source : int or None
            The call that they come from: its thread may have to wait until the operator's screen has
            caught up with it, and it alone. None: the operator's own thread.
        """

    def refresh(self) -> None:
        """Learn that callers came, went, or changed: whatever the prompt shows of them is out of date."""

    def is_typing(self) -> bool:
        """Tell whether the operator is in the middle of a line."""


class Keyboard(Screen, Protocol):
    """A screen with a keyboard; a context, at whose end everything has been shown."""

    def __enter__(self) -> Self: ...

    def __exit__(self, *exception: object) -> None: ...

    def attend(self, carry_out: Callable[[str], bool]) -> bool:
        """Carry out lines until one returns False, or `stop`.

        Returns
        -------
        bool
            Whether the input has ended by itself.
        """

    def stop(self) -> None:
        """Make `attend` return. Safe in any thread and in signal handlers."""


def listed(items: Iterable[str], none: str = "nobody") -> str:
    """Join words for a sentence: ``1 Anna, 2 Bob``."""
    return ", ".join(items) or none
