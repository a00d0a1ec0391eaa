"""What somebody is doing, told from a stack: the line of the program's own code that he stands at."""

import os
import sysconfig
from collections.abc import Callable, Sequence
from pathlib import Path
from types import FrameType
from typing import NamedTuple

import manyhands
from manyhands.connections.conversation import Conversation
from manyhands.engines import Engine, Task


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


# What a conversation is doing: the line of the program at which its handler stands.

_OURS = str(Path(manyhands.__file__).parent)
_LIBRARIES = tuple(
    {sysconfig.get_path(name) for name in ("stdlib", "platstdlib", "purelib", "platlib")}
)


def whereabouts(engine: Engine) -> dict[Task, str]:
    """Tell what each task of an engine is doing, as ``Handler.handle, examples/echo.py:12``.

    Of one that another process carries it is ``Handler, in process 4711``; of one that has not begun, the
    handler's name.
    """
    frames, processes = engine.frames(), engine.processes()
    return {
        task: _in_process(task, processes[task])
        if task in processes
        else _doing(task, frames.get(task))
        for task in engine.tasks
    }


def _in_process(task: Task, process: int) -> str:
    return f"{task.handler}, in process {process}"


def _doing(task: Task, frame: FrameType | None) -> str:
    place = chosen(_stack(frame), _is_library, _is_ours)
    return task.handler if place is None else place.shown(str(Path.cwd()))


def _stack(frame: FrameType | None) -> list[Place]:
    """Return the calls within the conversation, the outermost first."""
    places = []
    while frame is not None and frame.f_code is not Conversation.process_request_thread.__code__:
        code = frame.f_code
        places.append(Place(code.co_qualname, code.co_filename, frame.f_lineno))
        frame = frame.f_back
    return places[::-1]


def _is_library(file: str) -> bool:
    return file.startswith((*_LIBRARIES, "<frozen"))


def _is_ours(file: str) -> bool:
    return file.startswith(_OURS)
