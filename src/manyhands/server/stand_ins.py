"""What stands for a handler, or a program, in a supervisor, which imports neither."""

from collections.abc import Mapping, Sequence
from typing import Any, Never


class HandlerElsewhere:
    """Stands for a handler in a supervisor, which does not import it.

    Parameters
    ----------
    reference
        What names it, as ``shop.handlers:Echo``.
    """

    def __init__(self, reference: str) -> None:
        self.__qualname__ = reference.rpartition(":")[2] or reference

    def __call__(self, *_: Any) -> Never:
        """Refuse: no connection is served here."""
        raise RuntimeError("a supervisor serves no connection itself")


class ProgramElsewhere(HandlerElsewhere):
    """Stands for a program in its supervisor, which does not run it.

    Parameters
    ----------
    name
        The program and its arguments.
    command
        What runs it: the interpreter, and all that follows.
    environment
        The program's, with our launcher in it.
    """

    def __init__(
        self, name: Sequence[str], command: Sequence[str], environment: Mapping[str, str]
    ) -> None:
        super().__init__(" ".join(name)[:100])
        self.command = command
        self.environment = environment
