"""The verbs of a supervisor about connections, which its workers have."""

import heapq
from collections.abc import Mapping, Sequence
from itertools import islice
from operator import itemgetter
from typing import Any

from manyhands.control.connection_order import cursor_after
from manyhands.control.connection_verbs import named, number_of
from manyhands.control.fleet import WorkerSeen
from manyhands.control.fleet_asker import ANSWER_LIMIT
from manyhands.control.fleet_process import FleetProcess, supervisor_of
from manyhands.control.gathering import Answers, Params
from manyhands.control.later import Later
from manyhands.control.messages import Listed, Refusal, written
from manyhands.control.process_verbs import other_threads
from manyhands.control.protocol import Code
from manyhands.control.verbs import Asker
from manyhands.runtime.slices import slices


def list_connections(
    asker: Asker,
    *,
    where: Mapping[str, Any] | None = None,
    sort: str = "id",
    limit: int = 100,
    after: str | None = None,
) -> Later:
    """Return a page of the connections of all workers, in one order."""
    process = supervisor_of(asker)
    where = dict(where or {})
    number = process.the_server(where.pop("server", None)).number
    worker = where.pop("worker", None)
    params = {"where": where, "sort": sort, "limit": limit, "after": after}

    def asks() -> Sequence[tuple[WorkerSeen, Params]]:
        several = process.asker.serving() if worker is None else numbered(process, worker)
        return [(each, params) for each in several]

    def merge(answers: Answers) -> Listed:
        answers.refuse_as_they_do()
        pages = [
            [(key, of.number, row) for key, row in zip(page["keys"], page["items"], strict=True)]
            for of, page in answers.results
        ]
        # No two have the same number, which is the last of the key.
        merged = heapq.merge(*pages, key=itemgetter(0), reverse=sort.startswith("-"))
        found = [*islice(merged, limit + 1)]
        shown = found[:limit]
        is_last = len(found) <= limit and not any(page["next"] for _, page in answers.results)
        items = [
            written({**row, "server": number, "worker": of})
            for some in slices(shown)
            for _, of, row in some
        ]
        facts = {
            "next": None if is_last or not shown else cursor_after(sort, shown[-1][0]),
            "total": sum(page["total"] for _, page in answers.results),
            "open": sum(page["open"] for _, page in answers.results),
        }
        return Listed(items, facts | answers.told_missing)

    return process.asker.gather("connections.page", asks, merge)


def numbered(process: FleetProcess, number: int) -> list[WorkerSeen]:
    """Return the workers of a number: a successor, and the one that drains before it.

    Raises
    ------
    Refusal
        There is none.
    """
    found = [each for each in process.asker.serving() if each.number == number]
    if not found:
        there = ", ".join(sorted({str(each.number) for each in process.asker.serving()})) or "none"
        raise Refusal(Code.NO_SUCH_THING, f"there is no worker {number}; there is {there}")
    return found


def _ask_the_one(asker: Asker, verb: str, wanted: str) -> Later:
    """Ask the worker that has a connection; where none has it, all of them know how some have ended."""
    process, number = supervisor_of(asker), number_of(wanted)
    if number is None:
        raise Refusal(Code.NO_SUCH_THING, f"there is no connection {named(wanted)}")
    worker = process.fleet.worker_of(number)
    server = process.the_server(None).number

    def asks() -> Sequence[tuple[WorkerSeen, Params]]:
        several = process.asker.serving() if worker is None else [worker]
        return [(each, {"id": wanted}) for each in several]

    def merge(answers: Answers) -> dict[str, Any]:
        for each, result in answers.results:
            told = {**result, "worker": each.number}
            if verb == "connections.get":
                told |= {"server": server, "pid": result["pid"] or each.pid}
            return told
        if worker is not None and answers.missing:
            raise _does_not_answer(worker)
        raise _best_refusal(answers, wanted, process.end_of(number))

    return process.asker.gather(verb, asks, merge)


def _best_refusal(answers: Answers, wanted: str, end: str) -> Refusal:
    """Return the refusal that says most: that of the worker which knows how the connection has ended."""
    unknown = Refusal(Code.NO_SUCH_THING, f"there is no connection {named(wanted)}{end}")
    refusals = [unknown, *(refused for _, refused in answers.refusals)]
    return max(refusals, key=lambda refused: len(str(refused)))


def _does_not_answer(worker: WorkerSeen) -> Refusal:
    what = f"worker {worker.number}, process {worker.pid}, has not answered in {ANSWER_LIMIT:g} s"
    return Refusal(Code.NOT_NOW, what)


def get_connection(asker: Asker, *, id: str) -> Later:  # noqa: A002 - the parameter's name
    """Return what the worker of a connection knows of it."""
    return _ask_the_one(asker, "connections.get", id)


def close_connections(
    asker: Asker,
    *,
    id: str | None = None,  # noqa: A002 - the parameter's name
    ids: Sequence[str] | None = None,
) -> Later:
    """Have the workers of connections end them."""
    if (id is None) == (ids is None):
        raise Refusal(Code.BAD_PARAMS, "connections.close takes an id, or ids")
    if id is not None:
        return _ask_the_one(asker, "connections.close", id)
    process = supervisor_of(asker)
    by_worker: dict[tuple[int, int], tuple[WorkerSeen, list[str]]] = {}
    gone: list[str] = []
    for each in ids or ():
        number = number_of(each)
        worker = None if number is None else process.fleet.worker_of(number)
        if worker is None:
            gone.append(each)
        else:
            by_worker.setdefault((worker.number, worker.pid), (worker, []))[1].append(each)

    def merge(answers: Answers) -> dict[str, object]:
        answers.refuse_as_they_do()
        results = [result for _, result in answers.results]
        return {
            "closed": [each for result in results for each in result["closed"]],
            "gone": [*gone, *(each for result in results for each in result["gone"])],
            **answers.told_missing,
        }

    asks = [(worker, {"ids": some}) for worker, some in by_worker.values()]
    return process.asker.gather("connections.close", lambda: asks, merge)


def list_stacks(
    asker: Asker,
    *,
    id: str | None = None,  # noqa: A002 - the parameter's name
    limit: int = 200,
) -> Later:
    """Return where the handlers of all workers stand, or that of one connection."""
    process = supervisor_of(asker)
    number = None if id is None else number_of(id)
    worker = None if number is None else process.fleet.worker_of(number)
    given: dict[str, object] = {"limit": limit} if id is None else {"limit": limit, "id": id}

    def asks() -> Sequence[tuple[WorkerSeen, Params]]:
        several = process.asker.serving() if worker is None else [worker]
        return [(each, given) for each in several]

    def merge(answers: Answers) -> Listed:
        if id is None:
            answers.refuse_as_they_do()
        elif worker is not None and answers.missing:
            raise _does_not_answer(worker)
        elif not answers.results:
            raise _best_refusal(answers, id, process.end_of(number or 0))
        found = [
            {**item, "worker": each.number, "pid": item["pid"] or each.pid}
            for each, result in answers.results
            for item in result["items"]
        ]
        first = heapq.nsmallest(limit, found, key=lambda item: int(item["id"]))
        threads = [] if id is not None else [*other_threads(limit)]
        threads += [
            {**thread, "worker": each.number}
            for each, result in answers.results
            for thread in result["threads"]
        ]
        total = sum(result["total"] for _, result in answers.results)
        facts = {"threads": threads[:limit], "total": total, **answers.told_missing}
        return Listed([written(item) for some in slices(first) for item in some], facts)

    return process.asker.gather("stacks", asks, merge)
