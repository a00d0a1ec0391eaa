"""What stands above the connections: the process, its books and rates, its load, listeners and refusals."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from manyhands.console.books import Books, by_number
from manyhands.console.figures import Engine, Listener, Process, Server, Status
from manyhands.console.history import History, meter, sparkline
from manyhands.console.spans import Item, Line, flow, labelled, span
from manyhands.control.client import Hello
from manyhands.model.quantities import age, count, delay, rate, size

_NARROWEST_SPARKLINE = 8
"""Columns."""

_METER = 10
"""Columns of the bar that shows how full an engine is."""

_SLOW_HUB = 0.1
"""Seconds: people notice a delay that is longer."""

_NEARLY_FULL = 0.9


def hub_delay(servers: tuple[Server, ...]) -> float | None:
    """Return how late the hub of the fibers is, in seconds; None where there are none."""
    engines = [engine for server in servers for engine in server.engines]
    return max((each.hub_delay for each in engines if each.hub_delay is not None), default=None)


@dataclass(frozen=True, slots=True)
class Summary:
    """What is summed up.

    Attributes
    ----------
    hello : Hello
        What the server said first.
    status : Status
        Its figures.
    servers : tuple of Server
        Those that are shown: one, or all of the process.
    books : Books
        Their sums.
    history : History
        The rates, and what these were.
    """

    hello: Hello
    status: Status
    servers: tuple[Server, ...]
    books: Books
    history: History

    def lines(self, columns: int, most: int, *, has_sparklines: bool = True) -> list[Line]:
        """Return so many lines at the most; what is not shown then is least important.

        Parameters
        ----------
        columns : int
            How wide they may be.
        most : int
            How many there may be.
        has_sparklines : bool
            Whether the rates have their history beside them.
        """
        spark = max(_NARROWEST_SPARKLINE, columns // 9) if has_sparklines else 0
        groups = (
            self._title(),
            self._books(),
            self._rates(spark),
            self._load(spark),
            self._workers(),
            self._counts("refused", self.books.refusals, "warning"),
            self._listeners(),
            self._counts("datagrams dropped", self.books.dropped, "warning"),
            self._counts("ended", self.books.ends, ""),
        )
        return [line for group in groups for line in flow(group, columns)][:most]

    def _title(self) -> Iterator[Item]:
        yield (span(self.hello.name or self.hello.role, "strong"),)
        yield labelled("process", self.hello.pid)
        if "write" not in self.hello.may:
            yield (span("reading only", "warning"),)
        if any(server.is_draining for server in self.servers):
            yield (span("draining", "warning"),)
        if len(self.status.servers) > 1:
            yield (span(self._scope(), "strong"),)
        yield labelled("up", age(self.status.uptime))
        yield labelled("manyhands", self.hello.version)

    def _scope(self) -> str:
        if len(self.servers) != 1:
            return f"all {len(self.servers)} servers"
        [server] = self.servers
        return f"server {server.number}: {server.kind}, {server.handler}"

    def _books(self) -> Iterator[Item]:
        books = self.books
        yield labelled("open", count(books.open), "strong")
        yield labelled("accepted", count(books.accepted))
        yield labelled("closed", count(books.closed))
        yield labelled("refused", count(books.refused), "warning" if books.refused else "")
        if rooms := sum(server.rooms for server in self.servers):
            yield labelled("rooms", count(rooms))
        for state, number in by_number(books.states):
            if state != "open":
                yield labelled(state, count(number))

    def _rates(self, spark: int) -> Iterator[Item]:
        for name in ("accepted", "closed", "refused"):
            latest = self.history.latest(name)
            style = "warning" if name == "refused" and latest else ""
            yield self._drawn(f"{name}/s", name, rate(latest), spark, style)
        for label, name in (("in/s", "bytes_in"), ("out/s", "bytes_out")):
            if self.history.of(name):
                yield self._drawn(label, name, size(self.history.latest(name)), spark)

    def _load(self, spark: int) -> Iterator[Item]:
        for server in self.servers:
            prefix = f"{server.number}: " if len(self.servers) > 1 else ""
            yield from (_engine(engine, prefix) for engine in server.engines)
        late = hub_delay(self.servers)
        if late is not None:
            style = "bad" if late >= _SLOW_HUB else ""
            yield self._drawn("hub late by", "hub_delay", delay(late), spark, style)
        used = self.history.latest("processor")
        if used is not None:
            yield self._drawn("processor", "processor", f"{used:.0%}", spark)
        yield from _process(self.status.process)

    def _workers(self) -> Iterator[Item]:
        workers = self.status.workers
        if workers is None:
            return
        yield labelled("workers", count(sum(workers.states.values())))
        for state, number in by_number(workers.states):
            if state != "serving":
                yield labelled(state, count(number))
        if workers.generation is not None:
            yield labelled("generation", str(workers.generation))
        if workers.missing:
            yield labelled("not answering", ", ".join(workers.missing), "bad")

    def _drawn(self, label: str, name: str, figure: str, spark: int, style: str = "") -> Item:
        """Return a figure, as wide as most are so that little moves, and what it was."""
        shown = labelled(label, figure.rjust(6) if spark else figure, style)
        if not spark:
            return shown
        return (*shown, span(f" {sparkline(self.history.of(name), spark)}", "drawn"))

    def _listeners(self) -> Iterator[Item]:
        for server in self.servers:
            yield from (_listener(listener) for listener in server.listeners)

    def _counts(self, label: str, counts: Mapping[str, int], style: str) -> Iterator[Item]:
        counted = by_number(counts)
        if counted:
            yield (span(f"{label}:", "label"),)
        for reason, number in counted:
            yield labelled(reason.removeprefix("refused_"), count(number), style)


def _engine(engine: Engine, prefix: str) -> Item:
    name = span(f"{prefix}{engine.name} ", "label")
    if engine.limit is None:
        return (name, span(count(engine.running)))
    part = engine.running / engine.limit if engine.limit else 0.0
    style = "bad" if part >= 1 else "warning" if part >= _NEARLY_FULL else ""
    figures = span(f"{count(engine.running)} of {count(engine.limit)} ", style)
    return (name, figures, span(meter(part, _METER), "drawn"))


def _process(process: Process) -> Iterator[Item]:
    if process.memory is not None:
        yield labelled("memory", size(process.memory))
    if process.descriptors is not None:
        most = process.descriptor_limit
        is_near = most is not None and process.descriptors >= _NEARLY_FULL * most
        of = "" if most is None else f" of {count(most)}"
        yield labelled(
            "descriptors", f"{count(process.descriptors)}{of}", "warning" if is_near else ""
        )
    if process.threads is not None:
        yield labelled("threads", count(process.threads))


def _listener(listener: Listener) -> Item:
    shown = [span(listener.address)]
    if listener.is_suspended:
        shown.append(span(" suspended", "warning"))
    if listener.waiting is not None:
        is_full = listener.backlog is not None and listener.waiting >= listener.backlog
        of = "" if listener.backlog is None else f" of {count(listener.backlog)}"
        shown.append(span(" waiting ", "label"))
        shown.append(span(f"{count(listener.waiting)}{of}", "bad" if is_full else ""))
    if listener.dropped:
        shown += labelled(" lost", count(listener.dropped), "warning")
    return tuple(shown)
