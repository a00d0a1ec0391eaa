"""Engines: how many conversations go on at the same time, and in what.

An engine carries *tasks*, one for each connection; it knows neither servers nor handlers.

==============  ===========================  ===============================
engine          a conversation runs in       at the same time
==============  ===========================  ===============================
``sequential``  the accept loop itself       one
``threads``     a thread of its own          as many as `max_threads`
``processes``   a forked process of its own  as many as `max_children`
``fibers``      a fiber of its own           as many as `max_fibers`
==============  ===========================  ===============================
"""

from collections.abc import Callable

from manyhands.rules.mistakes import MissingExtra

from .engine import Engine, Task
from .processes import ProcessesEngine
from .sequential import SequentialEngine
from .threads import ThreadsEngine


def _make_fibers_engine() -> Engine:
    """Make a fiber engine.

    Raises
    ------
    MissingExtra
        When gevent is not installed.
    """
    try:
        from .fibers.engine import FibersEngine  # noqa: PLC0415 - an extra
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] not in {"gevent", "greenlet"}:
            raise
        raise MissingExtra("the fibers engine", "gevent", "fibers") from None
    return FibersEngine()


ENGINES: dict[str, Callable[[], Engine]] = {
    "sequential": SequentialEngine,
    "threads": ThreadsEngine,
    "processes": ProcessesEngine,
    "fibers": _make_fibers_engine,
}
"""What makes an engine, by the engine's name."""

__all__ = ["ENGINES", "Engine", "ProcessesEngine", "SequentialEngine", "Task", "ThreadsEngine"]
