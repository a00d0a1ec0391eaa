"""The verbs about the process, and the table of all verbs."""

import heapq
import sys
import threading
from collections.abc import Sequence
from typing import Any

from manyhands.connections.connection import Connection
from manyhands.control.connection_verbs import (
    CONNECTION_VERBS,
    CONNECTIONS_PAGE,
    STACK_PATIENCE,
    connection_id,
    the_connection,
)
from manyhands.control.messages import Listed, written
from manyhands.control.params import Number, Param, Several, Whole, Word
from manyhands.control.room_verbs import ROOM_VERBS
from manyhands.control.server_verbs import SERVER_VERBS
from manyhands.control.verbs import Asker, Verb, Verbs
from manyhands.control.workers_verbs import WORKERS_VERBS
from manyhands.engines import Engine, Task
from manyhands.model.socket_addresses import format_address
from manyhands.runtime.slices import slices
from manyhands.runtime.thread_frames import current_frames
from manyhands.runtime.unpatched import native_thread_id, native_thread_names, original
from manyhands.serving.stack_location import STACKS_AT_ONCE, calls, is_of_task, stacks_of


def _verbs(asker: Asker) -> dict[str, object]:
    del asker
    return {"items": [_described(verb) for verb in VERBS]}


def _described(verb: Verb) -> dict[str, object]:
    return {
        "name": verb.name,
        "writes": verb.writes,
        "params": [
            {
                "name": each.name,
                "type": each.kind.name,
                "help": each.help,
                "required": each.is_required,
            }
            for each in verb.params
        ],
        "help": verb.help,
    }


def _status(asker: Asker) -> dict[str, Any]:
    return asker.process.status(may_write=asker.may_write)


def _watch(asker: Asker, *, what: Sequence[str], every: float = 1.0) -> dict[str, object]:
    watched = list(dict.fromkeys(what))
    asker.watch(watched, every)
    return {"watching": watched, "every": every}


def _stacks(
    asker: Asker,
    *,
    id: str | None = None,  # noqa: A002 - the parameter's name
    limit: int = 200,
) -> Listed:
    engines = {
        engine: list(engine.tasks)
        for each in asker.process.servers()
        for engine in each.server.core.engines
    }
    if id is not None:
        connection = the_connection(asker, id)
        engines = {connection.engine: [connection]}
    shown = _first(engines, limit)
    stacks = stacks_of(shown, STACK_PATIENCE)
    processes = {engine: engine.processes() for engine in engines}
    items = [
        written(_stack(task, stacks.get(task), processes[engine].get(task)))
        for some in slices(shown, STACKS_AT_ONCE)
        for engine, task in some
    ]
    threads = [] if id is not None else other_threads(limit)
    return Listed(items, {"threads": threads, "total": sum(map(len, engines.values()))})


def _first(engines: dict[Engine, list[Task]], limit: int) -> list[tuple[Engine, Task]]:
    """Return the tasks with the lowest numbers."""
    tasks = (
        (engine, task)
        for engine, carried in engines.items()
        for some in slices(carried)
        for task in some
    )
    return heapq.nsmallest(limit, tasks, key=lambda each: _number(each[1]))


def _number(task: Task) -> int:
    return task.number if isinstance(task, Connection) else 0


def _stack(task: Task, stack: list[str] | None, process: int | None) -> dict[str, object]:
    return {
        "id": str(_number(task)),
        "peer": format_address(task.client_address),
        "handler": task.handler,
        "stack": stack,
        "pid": process,
    }


def other_threads(limit: int) -> list[dict[str, object]]:
    """Return where the threads stand that serve no client just now, but for the one that answers."""
    # Ours come last: `threading` names one "Dummy-1" once it has logged something.
    names = {thread.ident: thread.name for thread in threading.enumerate()} | native_thread_names()
    own, found = native_thread_id(), []
    for ident, frame in current_frames(original(sys, "_current_frames")).items():
        if ident != own and not is_of_task(frame):
            found.append({"name": names.get(ident, ""), "ident": ident, "stack": calls(frame)})
        if len(found) == limit:
            break
    return found


VERBS = Verbs(
    Verb("verbs", _verbs, "the verbs that there are, and what they take"),
    Verb("status", _status, "how the servers and the process fare"),
    *CONNECTION_VERBS,
    *SERVER_VERBS,
    *ROOM_VERBS,
    *WORKERS_VERBS,
    Verb(
        "stacks",
        _stacks,
        "where each handler stands, and each other thread",
        (
            Param("id", connection_id, "of one connection alone"),
            Param("limit", Whole(1, 1000), "how many at most, 200 unless told"),
        ),
    ),
    Verb(
        "watch",
        _watch,
        "be told by itself of stats and events from now on; of nothing: no more",
        (
            Param(
                "what",
                Several(Word("stats", "events"), 2),
                "stats, events, or both",
                is_required=True,
            ),
            Param("every", Number(0.1, 60), "seconds between two stats, 1 unless told"),
        ),
    ),
)
"""All verbs."""

OF_A_WORKER = Verbs(*VERBS, CONNECTIONS_PAGE)
"""Those that a supervisor may ask of its worker."""
