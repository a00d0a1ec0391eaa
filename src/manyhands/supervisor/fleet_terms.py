"""What a fleet goes by, what it tells, and what it asks of its server."""

import errno
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any, NamedTuple, Protocol, Self

from manyhands.model.usage_errors import Mistake
from manyhands.supervisor.template_process import TemplateProcess
from manyhands.workers.shared_page import MOST_LISTENERS

MOST_LEFT = 100_000
"""Connections that were cut off at a drain, of which it is told, at the most."""


class Terms(NamedTuple):
    """What the options say of workers.

    Attributes
    ----------
    workers : int
        How many there are in a generation.
    start_timeout, worker_timeout : float or None
        Seconds for a generation to come, and for an accept loop to stand still.
    stays : bool
        Whether connections stay with the workers of an old generation, instead of being drained.
    most_generations : int
        How many there may be at once.
    drain_timeout : float
        Seconds that connections get at a drain.
    """

    workers: int
    start_timeout: float
    worker_timeout: float | None
    stays: bool
    most_generations: int
    drain_timeout: float


def check_count(listeners: int) -> None:
    """Check that workers can serve so many listeners.

    Raises
    ------
    Mistake
        When they cannot.
    """
    if listeners > MOST_LISTENERS:
        raise Mistake(f"workers can serve {MOST_LISTENERS} addresses, and these are {listeners}")


class OnFiles(Protocol):
    """What wants to know the files of the program."""

    def __call__(self, files: Sequence[str], *, is_whole: bool) -> object:
        """Take notice of them; `is_whole` is whether the program could be imported."""


class Left(NamedTuple):
    """A connection that a worker has cut off: number, peer, seconds of its life, what it was doing."""

    number: int
    peer: str
    age: float
    doing: str

    @classmethod
    def of_plain(cls, said: Sequence[Any]) -> Self:
        """Make it of what JSON has of it, and a worker may have made up.

        Raises
        ------
        TypeError, ValueError
            When it is none.
        """
        number, peer, age, doing = said
        return cls(int(number), str(peer), float(age), str(doing))


def _leave_alone(*_: object) -> None:
    """Do nothing."""


def _find_nothing_wrong(_template: TemplateProcess) -> str:
    return ""


def _never(_position: int) -> bool:
    return False


def _bind_nothing(*_: object) -> None:
    raise OSError(errno.EPERM, "this server binds its addresses itself")


def _hold_nothing(_path: str) -> bool:
    return False


class Hooks:
    """What a fleet calls of its server: attributes that the server sets."""

    def __init__(self) -> None:
        self.wake: Callable[[], object] = _leave_alone
        """Wakes the accept loop, from any thread."""

        self.on_bind: Callable[[TemplateProcess, Mapping[str, Any], int], object] = _bind_nothing
        """Binds an address for a program, by the socket that a descriptor is of, and tells the template."""

        self.holds: Callable[[str], bool] = _hold_nothing
        """Tells whether a file is that of a Unix socket which is bound for a program."""

        self.on_ready: Callable[[TemplateProcess], str] = _find_nothing_wrong
        """Asked when a template is ready, before workers are made: what is wrong with it, or nothing."""

        self.on_dealt: Callable[[Collection[int]], object] = _leave_alone
        """Told the positions of the listeners whose connections can be dealt: others are to be left alone."""

        self.on_recall: Callable[[bool], object] = _leave_alone
        """Told when the streams to the workers' control servers are wanted back, and when that is over."""

        self.is_suspended: Callable[[int], bool] = _never
        """Asked of the position of a listener for datagrams: whether nobody is to read it for now."""

        self.on_stop: Callable[[], object] = _leave_alone
        """Called when a worker's program wants the whole server to stop."""

        self.on_closed: Callable[[int], object] = _leave_alone
        """Called when it has closed the listener at a position."""

        self.on_files: OnFiles | None = None
        """Told where the files of the program are that a template has imported, while that is of use."""
