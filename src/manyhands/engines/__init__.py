"""Engines: how many conversations go on at the same time, and in what.

An engine carries *tasks*, one for each connection; it knows neither servers nor handlers.

==============  ===========================  ===============================
engine          a conversation runs in       at the same time
==============  ===========================  ===============================
``sequential``  the accept loop itself       one
``threads``     a thread of its own          as many as `max_threads`
``processes``   a forked process of its own  as many as `max_children`
==============  ===========================  ===============================
"""

from .engine import Engine, Task
from .processes import ProcessesEngine
from .sequential import SequentialEngine
from .threads import ThreadsEngine

ENGINES: dict[str, type[Engine]] = {
    engine.name: engine for engine in (SequentialEngine, ThreadsEngine, ProcessesEngine)
}
"""Every engine by its name."""

__all__ = ["ENGINES", "Engine", "ProcessesEngine", "SequentialEngine", "Task", "ThreadsEngine"]
