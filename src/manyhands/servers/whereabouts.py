"""What a conversation is doing: the line of the program at which its handler stands."""

import sysconfig
from pathlib import Path
from types import FrameType

import manyhands
from manyhands.engines import Engine, Task
from manyhands.rules.whereabouts import Place, chosen

from .conversation import Conversation

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
