"""What somebody is doing, told from a stack: the line of the program's own code that he stands at."""

import os
from collections.abc import Callable, Sequence
from typing import NamedTuple


class Place(NamedTuple):
    """A line that is being executed.

    Attributes
    ----------
    function : str
        The function, with the class that it belongs to.
    file : str
        The path of its file.
    line : int
        The number of the line, from 1.
    """

    function: str
    file: str
    line: int

    def shown(self, folder: str) -> str:
        """Return it for people: ``Handler.handle, examples/echo.py:12``, with the path from `folder` on."""
        prefix = os.path.join(folder, "")  # noqa: PTH118 - no file is touched
        return f"{self.function}, {self.file.removeprefix(prefix)}:{self.line}"


def chosen(
    stack: Sequence[Place],
    is_library: Callable[[str], bool],
    is_ours: Callable[[str], bool],
) -> Place | None:
    """Choose the place that tells most.

    Parameters
    ----------
    stack
        The places, from the outermost call to the innermost.
    is_library
        Tells whether a file is none of the program's own.
    is_ours
        Tells whether a file is of the server's.

    Returns
    -------
    Place or None
        The innermost in the program; where nothing of that is on the stack, the outermost that is not the
        server's: a handler of a library. None where there is none.
    """
    own = [place for place in stack if not is_library(place.file) and not is_ours(place.file)]
    if own:
        return own[-1]
    return next((place for place in stack if not is_ours(place.file)), None)
