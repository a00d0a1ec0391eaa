"""Engines: how many connections are served at the same time, and in what.

An engine carries *tasks*, one for each connection; it knows neither servers nor handlers.

==============  ===========================  ===============================
engine          a connection is served in    at the same time
==============  ===========================  ===============================
``sequential``  the accept loop itself       one
``threads``     a thread of its own          as many as `max_threads`
``processes``   a forked process of its own  as many as `max_children`
``fibers``      a fiber of its own           as many as `max_fibers`
==============  ===========================  ===============================
"""

import contextlib
import importlib
from collections.abc import Callable

from manyhands.engines.engine import Engine, Task
from manyhands.engines.processes import ProcessesEngine
from manyhands.engines.sequential import SequentialEngine
from manyhands.engines.threads import ThreadsEngine
from manyhands.model.usage_errors import MissingExtra


def _make_fibers_engine() -> Engine:
    """Make a fiber engine.

    Raises
    ------
    MissingExtra
        When gevent is not installed.
    """
    try:
        from manyhands.engines.fibers.engine import FibersEngine  # noqa: PLC0415 - an extra
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] not in {"gevent", "greenlet"}:
            raise
        raise MissingExtra("the fibers engine", "gevent", "fibers") from None
    return FibersEngine()


def load(name: str) -> None:
    """Import all that an engine needs, if it is installed: processes that are forked later share it."""
    if name == "fibers":
        with contextlib.suppress(ImportError):
            importlib.import_module("manyhands.engines.fibers.engine")


ENGINES: dict[str, Callable[[], Engine]] = {
    "sequential": SequentialEngine,
    "threads": ThreadsEngine,
    "processes": ProcessesEngine,
    "fibers": _make_fibers_engine,
}
"""What makes an engine, by the engine's name."""

__all__ = [
    "ENGINES",
    "Engine",
    "ProcessesEngine",
    "SequentialEngine",
    "Task",
    "ThreadsEngine",
    "load",
]
