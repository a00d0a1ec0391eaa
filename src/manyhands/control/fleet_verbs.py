"""The verbs of a supervisor: those of every server, over all of its workers, and those about workers."""

import os
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from manyhands.control.fleet import Done
from manyhands.control.fleet_connections import (
    close_connections,
    get_connection,
    list_connections,
    list_stacks,
    numbered,
)
from manyhands.control.fleet_process import supervisor_of
from manyhands.control.gathering import Answers
from manyhands.control.later import Later
from manyhands.control.messages import Listed, Refusal, written
from manyhands.control.process_verbs import VERBS
from manyhands.control.protocol import LONGEST_WAIT, Code
from manyhands.control.room_verbs import MOST_ROOMS, cursor_of_room, read_cursor
from manyhands.control.verbs import Asker, Verbs
from manyhands.runtime.slices import slices
from manyhands.serving.info import plain


def _status(asker: Asker) -> Later:
    process = supervisor_of(asker)
    return process.asker.gather(
        "status",
        process.asker.everyone,
        lambda answers: process.status_of(answers, may_write=asker.may_write),
    )


def _watch(asker: Asker, *, what: Sequence[str], every: float = 1.0) -> object:
    process, watched = supervisor_of(asker), list(dict.fromkeys(what))

    def begin(result: object) -> object:
        asker.watch(watched, every)
        return result

    result = {"watching": watched, "every": every}
    if not watched:
        return begin(result)

    def heard(answers: Answers) -> object:
        process.note_all(answers)
        return result

    return process.asker.begin_watch(watched, heard).then(begin)


def _set_limits(asker: Asker, *, values: Mapping[str, Any], server: int | None = None) -> Later:
    process = supervisor_of(asker)
    controls = process.the_server(server).server
    before = {
        name: _as_given(controls.value_of(name)) for name in values if name in controls.adjustable
    }
    # Refused here, they are changed nowhere.
    result = VERBS.act_of("limits.set")(asker, values=values, server=server)

    def merge(answers: Answers) -> object:
        if not answers.refusals:
            process.asker.adjusted(result["values"])
            return {**result, **answers.told_missing}
        [(worker, refused), *_] = answers.refusals
        VERBS.act_of("limits.set")(asker, values=before, server=server)
        said = Refusal(refused.code, f"worker {worker.number} refuses: {refused}")
        return process.asker.gather(
            "limits.set",
            lambda: process.asker.everyone({"values": before}),
            lambda _: said,
        )

    return process.asker.gather(
        "limits.set", lambda: process.asker.everyone({"values": dict(values)}), merge
    )


def _as_given(value: object) -> object:
    """Return the value of an option as a client gives it: networks as one text."""
    told = plain(value)
    return ", ".join(map(str, told)) if isinstance(told, list) else told


def _rooms(
    asker: Asker, *, limit: int = MOST_ROOMS, after: str | None = None, server: int | None = None
) -> Later:
    process = supervisor_of(asker)
    number = process.the_server(server).number
    params: dict[str, object] = {"limit": limit}
    if after is not None:
        # In a worker, its server is the first and only one.
        params["after"] = cursor_of_room(1, read_cursor(after)[1])

    def merge(answers: Answers) -> Listed:
        answers.refuse_as_they_do()
        members: Counter[str] = Counter()
        for _, result in answers.results:
            members.update({item["room"]: item["members"] for item in result["items"]})
        page = sorted(members)[:limit]
        is_last = len(members) <= limit and not any(each["next"] for _, each in answers.results)
        is_whole = is_last and after is None
        facts = {
            "next": None if is_last else cursor_of_room(number, page[-1]),
            # A room whose members have several workers is counted for each, where not all are on the page.
            "total": len(members)
            if is_whole
            else sum(result["total"] for _, result in answers.results),
        }
        items = [
            written({"server": number, "room": room, "members": members[room]})
            for some in slices(page)
            for room in some
        ]
        return Listed(items, facts | answers.told_missing)

    return process.asker.gather("rooms.list", lambda: process.asker.everyone(params), merge)


def _tell(
    asker: Asker,
    *,
    room: str,
    text: str | None = None,
    base64: str | None = None,
    server: int | None = None,
) -> Later:
    process = supervisor_of(asker)
    process.the_server(server)
    said = {"room": room, "text": text, "base64": base64}
    params = {name: each for name, each in said.items() if each is not None}

    def merge(answers: Answers) -> dict[str, object]:
        if not answers.results:
            answers.refuse_as_they_do()
        told = sum(result["told"] for _, result in answers.results)
        return {"told": told, **answers.told_missing}

    return process.asker.gather("rooms.tell", lambda: process.asker.everyone(params), merge)


def _metrics(asker: Asker, *, server: int | None = None) -> Later:
    process = supervisor_of(asker)
    own = VERBS.act_of("metrics")(asker, server=server)

    def merge(answers: Answers) -> dict[str, object]:
        answers.refuse_as_they_do()
        return {**own, "text": process.figures_with(own["text"], answers), **answers.told_missing}

    return process.asker.gather("metrics", process.asker.everyone, merge)


def _workers(asker: Asker) -> dict[str, object]:
    process = supervisor_of(asker)
    rows = [process.row(each) for each in process.all_workers()]
    return {"generation": process.fleet.generation(), "items": rows}


def _restart(asker: Asker, *, worker: int | None = None) -> Later:
    process = supervisor_of(asker)
    if worker is not None:
        numbered(process, worker)
    done, later = _outcome(lambda: {"restarted": True})
    process.fleet.restart(worker, done)
    return later


def _scale(asker: Asker, *, count: int) -> Later:
    done, later = _outcome(lambda: {"count": count})
    supervisor_of(asker).fleet.scale(count, done)
    return later


def _reload(asker: Asker) -> Later:
    process = supervisor_of(asker)

    def told() -> dict[str, object]:
        generation = process.fleet.generation()
        return {"reloaded": True, "what": f"generation {generation}", "generation": generation}

    done, later = _outcome(told)
    process.fleet.reload(done)
    return later


def _upgrade(asker: Asker) -> Later:
    process = supervisor_of(asker)
    # The answer comes just before the exec, which ends this connection.
    done, later = _outcome(lambda: {"upgrading": True, "pid": os.getpid()})
    process.fleet.upgrade(done)
    return later


def _outcome(told: Callable[[], object]) -> tuple[Done, Later]:
    """Return what is to be told of an outcome, and the answer that it becomes."""
    later = Later(LONGEST_WAIT, f"that is not done after {LONGEST_WAIT:g} s, and goes on")

    def done(why_not: str | None) -> None:
        later.give(told() if why_not is None else Refusal(Code.NOT_NOW, why_not))

    return done, later


_ACTS: dict[str, Callable[..., object]] = {
    "status": _status,
    "connections.list": list_connections,
    "connections.get": get_connection,
    "connections.close": close_connections,
    "limits.set": _set_limits,
    "reload": _reload,
    "upgrade": _upgrade,
    "metrics": _metrics,
    "rooms.list": _rooms,
    "rooms.tell": _tell,
    "stacks": list_stacks,
    "watch": _watch,
    "workers.list": _workers,
    "workers.restart": _restart,
    "workers.scale": _scale,
}

OF_A_SUPERVISOR = Verbs(*(verb._replace(act=_ACTS.get(verb.name, verb.act)) for verb in VERBS))
"""Those of every server. Some of them ask the workers here; the others are about the supervisor alone."""
