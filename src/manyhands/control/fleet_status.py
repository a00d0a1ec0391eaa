"""How a server with workers fares: what its supervisor knows, and what the workers have told. No I/O."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from manyhands.control.fleet import WorkerSeen
from manyhands.control.worker_totals import Counted

Status = Mapping[str, Any]


def server_status(
    own: Status, told: Sequence[Status], sums: Counted, bytes_age: float
) -> dict[str, Any]:
    """Return how the server fares.

    Parameters
    ----------
    own
        How it fares in the supervisor, whose books are those of all workers.
    told
        What each worker has told.
    sums
        What all workers have counted.
    bytes_age
        Seconds since the oldest of it was told.
    """
    servers = [server for status in told for server in status["servers"]]
    ages = [server["bytes_age"] for server in servers]
    return {
        **own,
        "engines": _engines(each for server in (own, *servers) for each in server["engines"]),
        "listeners": [_listener(each, servers) for each in own["listeners"]],
        "dropped": dict(Counter(own["dropped"]) + sums.dropped),
        "rooms": sum(server["rooms"] for server in servers),
        "bytes_in": sums.figures.get("bytes_in"),
        "bytes_out": sums.figures.get("bytes_out"),
        "bytes_age": round(bytes_age + max(ages, default=0.0), 3),
        "certificates": _certificates([own, *servers]),
    }


def _engines(engines: Iterable[Status]) -> list[dict[str, Any]]:
    """Add up the engines of a name; the hub is as late as the latest."""
    by_name: dict[str, list[Status]] = {}
    for each in engines:
        by_name.setdefault(each["name"], []).append(each)
    return [
        {
            "name": name,
            "running": sum(each["running"] for each in several),
            "limit": _sum_if_known(each["limit"] for each in several),
            "hub_delay": max(_known(each["hub_delay"] for each in several), default=None),
        }
        for name, several in by_name.items()
    ]


def _known(values: Iterable[Any]) -> list[Any]:
    return [each for each in values if each is not None]


def _sum_if_known(values: Iterable[Any]) -> Any:
    several = [*values]
    return None if None in several else sum(several)


def _listener(own: Status, servers: Sequence[Status]) -> dict[str, Any]:
    """Return a listener; of the datagrams that were dropped each worker knows its own socket's."""
    dropped = _known(
        each["dropped"]
        for server in servers
        for each in server["listeners"]
        if each["address"] == own["address"]
    )
    return {**own, "dropped": sum(dropped) if dropped else own["dropped"]}


def _certificates(servers: Sequence[Status]) -> dict[str, float]:
    """Return when each certificate expires: of two generations, the earlier time."""
    expiries: dict[str, float] = {}
    for server in servers:
        for file, when in server["certificates"].items():
            expiries[file] = min(when, expiries.get(file, when))
    return expiries


def process_use(own: Status, told: Sequence[Status], sums: Counted) -> dict[str, Any]:
    """Return what all processes use: their sums, and the descriptors of the one that has the fewest left."""
    uses = [own, *(status["process"] for status in told)]
    scarce = max(uses, key=_descriptors_used)
    return {
        "cpu_seconds": round(own["cpu_seconds"] + sums.figures["cpu_seconds"], 3),
        "rss": sum(_known(each["rss"] for each in uses)) or None,
        "descriptors": scarce["descriptors"],
        "descriptor_limit": scarce["descriptor_limit"],
        "threads": sum(_known(each["threads"] for each in uses)) or None,
    }


def _descriptors_used(use: Status) -> float:
    return (use["descriptors"] or 0) / (use["descriptor_limit"] or float("inf"))


def worker_row(worker: WorkerSeen, now: float, status: Status | None = None) -> dict[str, Any]:
    """Return a worker as operators have it; `status` is what it has told, if that is there."""
    row: dict[str, Any] = {
        "number": worker.number,
        "pid": worker.pid,
        "generation": worker.generation,
        "state": worker.state,
        "open": worker.open,
        "begun": worker.begun,
        "age": round(now - worker.began_at, 3),
        "restarts": worker.restarts,
    }
    if status is not None:
        row["process"] = status["process"]
        row["engines"] = _engines(
            each for server in status["servers"] for each in server["engines"]
        )
    return row
