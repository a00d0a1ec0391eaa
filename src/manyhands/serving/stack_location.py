"""The line of the program that a handler is executing, read from its stack, and the calls that led there.

Read only when a drain cuts a handler off, or an operator asks, so it costs the connections nothing.
"""

import os
import sysconfig
from collections.abc import Callable, Iterable, Sequence
from itertools import dropwhile
from pathlib import Path
from traceback import StackSummary
from types import FrameType
from typing import NamedTuple

from manyhands.connections.connection import Connection
from manyhands.engines import Engine, Task
from manyhands.runtime.slices import slices

_OURS = str(Path(__file__).parents[1])
_LIBRARIES = tuple(
    {sysconfig.get_path(name) for name in ("stdlib", "platstdlib", "purelib", "platlib")}
)


class CodeLocation(NamedTuple):
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
        """Return it as text: ``Handler.handle, examples/echo.py:12``, with the path from `folder` on."""
        prefix = os.path.join(folder, "") if folder else ""  # noqa: PTH118 - no file is touched
        return f"{self.function}, {self.file.removeprefix(prefix)}:{self.line}"


def chosen(
    stack: Sequence[CodeLocation],
    is_library: Callable[[str], bool],
    is_ours: Callable[[str], bool],
) -> CodeLocation | None:
    """Choose the call of a stack that says most about what the program does.

    Parameters
    ----------
    stack
        The calls, from the outermost to the innermost.
    is_library
        Returns whether a file belongs to an installed library.
    is_ours
        Returns whether a file belongs to this package.

    Returns
    -------
    CodeLocation or None
        The innermost call of the program; where there is none, the outermost that is not this package's: the
        handler comes from a library then. None where there is neither.
    """
    own = [place for place in stack if not is_library(place.file) and not is_ours(place.file)]
    if own:
        return own[-1]
    return next((place for place in stack if not is_ours(place.file)), None)


def stack_locations(engine: Engine) -> dict[Task, str]:
    """Return the location of each task of an engine, as ``Handler.handle, examples/echo.py:12``.

    For a task in another process it is ``Handler, in process 4711``; for one that has not begun, the
    handler's name.
    """
    tasks, processes = engine.tasks, engine.processes()
    frames = engine.frames(tasks)
    return {
        task: f"{task.handler}, in process {processes[task]}"
        if task in processes
        else _location(task, frames.get(task))
        for task in tasks
    }


def stack_texts(engine: Engine) -> dict[Task, str]:
    """Return the stack of each task that this process serves, from the handler on, as tracebacks have it.

    The line of code beside each call is read from its file, so this is no function for signal handlers.
    """
    return {task: _text(_frames(frame)) for task, frame in engine.frames(engine.tasks).items()}


def _text(frames: list[FrameType]) -> str:
    lines = ((frame, frame.f_lineno) for frame in _from_the_handler_on(frames))
    return "".join(StackSummary.extract(lines).format())


def _from_the_handler_on(frames: list[FrameType]) -> list[FrameType]:
    # The calls by which every handler is reached say nothing; of a worker that opens, or ends, they do.
    return list(dropwhile(lambda frame: _is_ours(frame.f_code.co_filename), frames)) or frames


def stacks_of(tasks: Iterable[tuple[Engine, Task]], seconds: float) -> dict[Task, list[str]]:
    """Return the calls of each task from its handler on, the innermost last, as ``FILE:LINE in FUNCTION``.

    No file is read. Tasks in other processes get so many seconds to tell; of one that does not there is
    nothing.
    """
    by_engine: dict[Engine, list[Task]] = {}
    for engine, task in tasks:
        by_engine.setdefault(engine, []).append(task)
    found: dict[Task, list[str]] = {}
    for engine, those in by_engine.items():
        frames = engine.frames(those)
        for some in slices(list(frames), STACKS_AT_ONCE):
            found |= {task: _calls_of_task(frames[task]) for task in some}
        told = engine.stacks_elsewhere(those, seconds)
        found |= {task: _told_of_task(lines) for task, lines in told.items()}
    return found


def _calls_of_task(frame: FrameType) -> list[str]:
    return _shown(_from_the_handler_on(_frames(frame)))


def _told_of_task(lines: list[str]) -> list[str]:
    own = list(dropwhile(lambda line: line.startswith(_OURS), lines)) or lines
    return own[-MOST_CALLS:]


def calls(frame: FrameType) -> list[str]:
    """Return the calls of a thread, as `stacks_of` does those of a task."""
    return _shown(_frames(frame))


def is_of_task(frame: FrameType | None) -> bool:
    """Tell whether the thread of a frame, the one on top, serves a connection."""
    while frame is not None and frame.f_code is not Connection.process_request_thread.__code__:
        frame = frame.f_back
    return frame is not None


def _shown(frames: Sequence[FrameType]) -> list[str]:
    return [
        f"{each.f_code.co_filename}:{each.f_lineno} in {each.f_code.co_qualname}"
        for each in frames[-MOST_CALLS:]
    ]


STACKS_AT_ONCE = 20
"""Stacks that are made or written before the clock is looked at: ten microseconds each."""

MOST_CALLS = 100
"""Calls of a stack that are told: of an endless recursion the last ones say it all."""


def _location(task: Task, frame: FrameType | None) -> str:
    location = chosen(_stack(frame), _is_library, _is_ours)
    if location is None:
        return task.handler
    try:
        folder = str(Path.cwd())
    except OSError:
        folder = ""  # it has been removed, or is not in the root of now (getcwd(3))
    return location.shown(folder)


def _stack(frame: FrameType | None) -> list[CodeLocation]:
    return [
        CodeLocation(each.f_code.co_qualname, each.f_code.co_filename, each.f_lineno)
        for each in _frames(frame)
    ]


def _frames(frame: FrameType | None) -> list[FrameType]:
    """Return the frames of the calls within the connection's task, the outermost first."""
    # A sequential server runs it in the program's own thread, so the stack goes on below: stop at its first
    # frame.
    frames = []
    while frame is not None and frame.f_code is not Connection.process_request_thread.__code__:
        frames.append(frame)
        frame = frame.f_back
    return frames[::-1]


def _is_library(file: str) -> bool:
    return file.startswith((*_LIBRARIES, "<frozen"))


def _is_ours(file: str) -> bool:
    return file.startswith(_OURS)
