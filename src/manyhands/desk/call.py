"""A call, as the desk knows it."""

from dataclasses import dataclass, field
from datetime import datetime
from typing import Protocol

from manyhands.desk.endings import Ending


class Speaker(Protocol):
    """What the desk needs of the connection: `line.Line`, for one. Safe to use from any thread."""

    ending: Ending | None

    def say(self, text: str) -> bool:
        """Say something without waiting; False when nobody is there any more."""

    def hang_up(self, ending: Ending) -> None:
        """End the call from the desk's side."""


@dataclass(eq=False, slots=True)
class Call:
    """One caller on the line.

    Attributes
    ----------
    number : int
        Counts the calls of this desk, from 1.
    peer : str
        Where the caller calls from, safe to print.
    line : Speaker
        The connection.
    name : str or None
        What the caller wants to be called.
    unread : int
        Lines said since the operator last answered the caller or turned to it.
    only_listens : bool
        Whether the caller has stopped talking for good, and still hears (a half-close).
    was_repaired : bool
        Whether the caller has been told that it does not send UTF-8.
    came_too_late : bool
        Whether the desk had closed by then, so that nobody else says goodbye to the caller.
    row : int or None
        Its id in the transcript; None when it could not be written yet.
    opened_at : datetime
        When it called in, local time.
    """

    number: int
    peer: str
    line: Speaker
    name: str | None = None
    unread: int = 0
    only_listens: bool = False
    was_repaired: bool = False
    came_too_late: bool = False
    row: int | None = None
    opened_at: datetime = field(default_factory=lambda: datetime.now().astimezone())

    @property
    def label(self) -> str:
        """The number and the name, or the address of who has given none: what every line begins with."""
        return f"{self.number} {self.name or self.peer}"
