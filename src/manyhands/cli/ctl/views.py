"""What servers answer, as lines for people."""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any

from manyhands.cli.ctl.tables import Column, Look, facts, field, figure, table
from manyhands.cli.ctl.workers import of_worker, workers
from manyhands.control import limit_values
from manyhands.model.escaping import escape
from manyhands.model.quantities import age, count, delay, rate, size, some_of

Lines = Iterator[str]

View = Callable[[Any, Look], Lines]
"""Writes the result of a verb, which is JSON, as lines that are safe to print."""

_DAY = 86_400


def status(result: Any, look: Look) -> Lines:
    """Write how the servers of a process fare."""
    books = result["books"]
    yield from facts(
        [
            ("process", f"{result['pid']}, {result['name']}"),
            ("version", f"manyhands {result['manyhands']} on Python {result['python']}"),
            ("up", f"{age(result['uptime'])}, since {_moment(result['started'])}"),
            ("books", _books(books)),
            ("generation", result.get("generation")),
            ("uses", _use(result["process"])),
        ],
        look,
    )
    for server in result["servers"]:
        yield ""
        yield from _server(server, look)
    if "workers" in result:
        yield ""
        yield from workers(result["workers"], look)


def _use(process: Mapping[str, Any]) -> str:
    limit = process["descriptor_limit"]
    descriptors = count(process["descriptors"]) + (f" of {count(limit)}" if limit else "")
    return (
        f"{age(process['cpu_seconds'])} of processor time, {size(process['rss'])} of memory, "
        f"{descriptors} descriptors, {count(process['threads'])} threads"
    )


def _books(books: Mapping[str, Any]) -> str:
    return (
        f"{count(books['accepted'])} accepted = {count(books['open'])} open + "
        f"{count(books['closed'])} closed, {count(books['refused'])} of these refused"
    )


def _server(server: Mapping[str, Any], look: Look) -> Lines:
    pairs: list[tuple[str, object]] = [
        ("server", f"{server['server']}, {server['kind']} of {server['handler']}")
    ]
    pairs += [("listener", _listener(each)) for each in server["listeners"]]
    pairs += [("engine", _engine(each)) for each in server["engines"]]
    pairs += [
        ("drains", "yes: it ends when its connections have" if server["is_draining"] else ""),
        ("open", _counts(server["open"])),
        ("closed", _counts(server["closed"])),
        ("dropped", _counts(server["dropped"])),
        ("rooms", count(server["rooms"]) if server.get("rooms") else ""),
        ("bytes", _bytes(server)),
    ]
    pairs += [
        ("certificate", f"{file} {_expiry(when)}")
        for file, when in server.get("certificates", {}).items()
    ]
    yield from facts(pairs, look)


def _listener(listener: Mapping[str, Any]) -> str:
    notes = ["suspended"] if listener["is_suspended"] else []
    if listener.get("waiting") is not None:
        notes.append(f"{count(listener['waiting'])} of {count(listener['backlog'])} wait")
    if listener.get("dropped"):
        notes.append(f"{count(listener['dropped'])} datagrams dropped by the kernel")
    return ": ".join([listener["address"], ", ".join(notes)] if notes else [listener["address"]])


def _engine(engine: Mapping[str, Any]) -> str:
    limit = f" of {count(engine['limit'])}" if engine["limit"] is not None else ""
    late = engine.get("hub_delay")
    hub = f", hub {delay(late)} late" if late is not None else ""
    return f"{engine['name']}: {count(engine['running'])}{limit} running{hub}"


def _counts(counts: Mapping[str, int]) -> str:
    """Write how many there are of each kind, the most frequent first."""
    most = sorted(counts.items(), key=lambda each: -each[1])
    return ", ".join(f"{name} {count(number)}" for name, number in most if number)


def _bytes(server: Mapping[str, Any]) -> str:
    if server.get("bytes_in") is None:
        return ""
    return f"{size(server['bytes_in'])} in, {size(server['bytes_out'])} out"


def _expiry(when: float) -> str:
    left = when - time.time()
    day = datetime.fromtimestamp(when).astimezone().strftime("%Y-%m-%d")
    return f"expires {day}, in {age(left)}" if left > 0 else f"has expired, {day}"


def _moment(text: str) -> str:
    """Write a moment of ISO 8601 as this machine's clocks have it; what is none as it is."""
    try:
        return datetime.fromisoformat(text).astimezone().strftime("%Y-%m-%d %H:%M:%S")
    except ValueError:
        return text


def connections(result: Any, look: Look) -> Lines:
    """Write a list of connections."""
    items = result["items"]
    if items:
        yield from table(_columns(items), items, look)
    shown, total, everything = len(items), result["total"], result["open"]
    said = f"{count(shown)} of {count(total)}" if shown != total else count(total)
    of = f", of {count(everything)} open" if total != everything else ""
    more = "; --limit shows more, --all all" if result.get("next") else ""
    yield look.heading(f"{said} connection{'' if total == 1 else 's'}{of}{more}")


def _columns(items: Sequence[Mapping[str, Any]]) -> list[Column]:
    columns = [
        Column("ID", lambda item: item["id"], is_number=True),
        field("peer", is_cut_last=True),
        field("state"),
        figure("age", age),
        figure("silent", age),
        figure("in", size),
        figure("out", size),
    ]
    # Only where one has something to show.
    if any(item.get("waiting") for item in items):
        columns.append(figure("waiting", size))
    if any(item.get("missed") for item in items):
        columns.append(figure("missed", count))
    columns += _server_column(items)
    if any("worker" in item for item in items):
        columns.append(figure("worker", str))
    columns += [field("listener", is_spare=True), field("handler", is_spare=True)]
    if any(item.get("rooms") for item in items):
        columns.append(Column("ROOMS", _rooms_of, is_spare=True))
    if any(item.get("reason") for item in items):
        columns.append(field("reason"))
    return columns


def _server_column(items: Sequence[Mapping[str, Any]]) -> list[Column]:
    """Return the column of the server's number, where there are several."""
    are_several = len({item.get("server") for item in items}) > 1
    return [figure("server", count)] if are_several else []


def _rooms_of(item: Mapping[str, Any]) -> str:
    return some_of(item.get("rooms") or (), item.get("rooms_total", 0))


def connection(result: Any, look: Look) -> Lines:
    """Write all that is known of one connection."""
    tls, proxy, deadlines = result.get("tls"), result.get("proxy"), result.get("deadlines") or {}
    yield from facts(
        [
            ("id", result["id"]),
            ("client", result["peer"]),
            ("called", f"{result['listener']}, server {result['server']}"),
            ("local", result.get("local")),
            (
                "state",
                f"{result['state']}, {result['reason']}" if result["reason"] else result["state"],
            ),
            ("handler", result["handler"]),
            ("worker", result.get("worker")),
            ("process", result.get("pid")),
            ("age", age(result["age"])),
            ("silent", None if result["silent"] is None else f"{age(result['silent'])}"),
            ("in", None if result["in"] is None else size(result["in"])),
            ("out", None if result["out"] is None else size(result["out"])),
            ("waiting", size(result["waiting"]) if result.get("waiting") else None),
            ("missed", count(result["missed"]) if result.get("missed") else None),
            ("rooms", _rooms_of(result)),
            ("tls", _listed(tls)),
            ("proxy", _listed(proxy)),
            ("deadlines", _deadlines(deadlines)),
        ],
        look,
    )
    yield from _stack(result.get("stack"))


def _listed(values: Mapping[str, Any] | None) -> str | None:
    if not values:
        return None
    return ", ".join(f"{name} {value}" for name, value in values.items() if value is not None)


def _deadlines(deadlines: Mapping[str, Any]) -> str:
    return ", ".join(f"{name} {age(each)}" for name, each in deadlines.items() if each is not None)


def _stack(calls: Sequence[str] | None) -> Lines:
    yield from (f"    {escape(call)}" for call in calls or ["(where it stands is not known)"])


def closed(result: Any, look: Look) -> Lines:
    """Write which connections have been closed."""
    del look
    if result["closed"]:
        yield f"closed {escape(', '.join(result['closed']))}"
    if result["gone"]:
        yield f"not open any more: {escape(', '.join(result['gone']))}"


def limits(result: Any, look: Look) -> Lines:
    """Write the options that can be changed while the server serves; of one alone, all in full."""
    items = result["items"]
    if len(items) == 1:
        yield from _limit(items[0], look)
        return
    columns = [
        field("name"),
        Column("VALUE", lambda item: limit_values.written(item["value"])),
        Column("DEFAULT", lambda item: limit_values.written(item["default"])),
        Column("UNIT", lambda item: item.get("unit") or ""),
    ]
    yield from table([*_server_column(items), *columns, field("help")], items, look)


def _limit(item: Mapping[str, Any], look: Look) -> Lines:
    unit = f" {item['unit']}" if item.get("unit") else ""
    value, default = (limit_values.written(item[name]) for name in ("value", "default"))
    yield from facts(
        [
            ("name", item["name"]),
            ("value", value if item["value"] is None else f"{value}{unit}"),
            ("default", default if item["default"] is None else f"{default}{unit}"),
            ("help", item["help"]),
        ],
        look,
    )


def set_limits(result: Any, look: Look) -> Lines:
    """Write what limits have been set to."""
    yield from facts(
        [(name, limit_values.written(each)) for name, each in result["values"].items()], look
    )


def listeners(result: Any, look: Look) -> Lines:
    """Write which listeners take clients."""
    items = result["listeners"]
    columns = [
        *_server_column(items),
        field("address", "LISTENER"),
        Column("", lambda item: "suspended" if item["is_suspended"] else "takes clients"),
    ]
    yield from table(columns, items, look)


def draining(result: Any, look: Look) -> Lines:
    """Write that the servers drain."""
    del result, look
    yield "no new clients: the servers end when their connections have ended, or the time is over"


def reloaded(result: Any, look: Look) -> Lines:
    """Write what has been reloaded."""
    del look
    yield f"reloaded: {escape(str(result['what']))}"


def stacks(result: Any, look: Look) -> Lines:
    """Write where each handler stands, and each other thread."""
    for item in result["items"]:
        process = f", process {item['pid']}" if item.get("pid") else ""
        where = of_worker(item) + process
        yield look.heading(escape(f"{item['id']} {item['peer']} {item['handler']}{where}"))
        yield from _stack(item["stack"])
    for thread in result.get("threads", ()):
        name = thread["name"] or "(without a name)"
        yield look.heading(escape(f"thread {thread['ident']} {name}{of_worker(thread)}"))
        yield from _stack(thread["stack"])
    shown = len(result["items"])
    if shown < result["total"]:
        yield look.heading(
            f"{count(shown)} of {count(result['total'])} handlers; --limit shows more"
        )


def rooms(result: Any, look: Look) -> Lines:
    """Write how many members each room has."""
    items = result["items"]
    if not items:
        yield "no room has a member"
        return
    columns = [field("room"), figure("members", count), *_server_column(items)]
    yield from table(columns, items, look)
    if result.get("next"):
        shown = f"{count(len(items))} of {count(result['total'])} rooms"
        yield look.heading(f"{shown}; --limit shows more, --all all")


def told(result: Any, look: Look) -> Lines:
    """Write how many have been told."""
    del look
    yield f"told {count(result['told'])}"


def metrics(result: Any, look: Look) -> Lines:
    """Write the figures as Prometheus reads them."""
    del look
    yield from map(escape, result["text"].splitlines())


def verbs(result: Any, look: Look) -> Lines:
    """Write the verbs of the protocol."""
    columns = [
        field("name", "VERB"),
        Column("CHANGES", lambda item: "yes" if item["writes"] else ""),
        Column("PARAMS", lambda item: ", ".join(map(_param, item["params"]))),
        field("help"),
    ]
    yield from table(columns, result["items"], look)


def _param(param: Mapping[str, Any]) -> str:
    name: str = param["name"]
    return name if param.get("required") else f"{name}?"


def servers(result: Any, look: Look) -> Lines:
    """Write which servers there are."""
    columns = [
        Column("PID", lambda item: item["pid"], is_number=True),
        field("name"),
        figure("uptime", age),
        figure("open", count, "CONNECTIONS"),
        field("place"),
    ]
    if any(item["user"] != result["items"][0]["user"] for item in result["items"]):
        columns.insert(1, Column("USER", lambda item: item["user"], is_number=True))
    yield from table(columns, result["items"], look)


def events(params: Mapping[str, Any], look: Look) -> Lines:
    """Write events as they have come, each one a line."""
    for item in params.get("items", ()):
        line = f"{_time(item['at'])} {item['event']}{of_worker(item)}: {_sentence(item)}"
        is_bad = item.get("level") in {"warning", "error"}
        yield look.warning(escape(line)) if is_bad else escape(line)
    if params.get("dropped"):
        yield look.warning(
            f"-- {count(params['dropped'])} events were not told, for they came too fast"
        )


def _sentence(item: Mapping[str, Any]) -> str:
    if "message" in item:
        return str(item["message"])
    return " ".join(
        f"{name}={value}" for name, value in item.items() if name not in {"event", "at"}
    )


def stats(params: Mapping[str, Any], look: Look) -> Lines:
    """Write the figures of one moment, in one line."""
    del look
    books, rates = params["books"], params.get("rates") or {}
    said = [
        f"{count(books['open'])} open",
        f"{count(books['accepted'])} accepted{_per_second(rates.get('accepted'), rate)}",
        f"{count(books['refused'])} refused{_per_second(rates.get('refused'), rate)}",
    ]
    if rates.get("bytes_in") is not None:
        said.append(f"in {size(rates['bytes_in'])}/s, out {size(rates['bytes_out'])}/s")
    yield escape(f"{_time(params['at'])} {', '.join(said)}")


def _per_second(number: float | None, written: Callable[[float | None], str]) -> str:
    return "" if number is None else f" ({written(number)}/s)"


def _time(text: str) -> str:
    return _moment(text).rpartition(" ")[2]
