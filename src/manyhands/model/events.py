"""What a server tells the outside: a closed set of events with typed fields, and the hub that hands them on.

The library never prints and never logs; it emits. Subscribers log, count and show::

    from manyhands import events

    unsubscribe = events.hub.subscribe(print)

Every event is a frozen dataclass: its name says what happened, its fields are the measurements, and its
text is a sentence for a person. The set is closed: a subscriber that handles the classes of this module
(`kinds`) has handled everything. No event carries what a client sent.
"""

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import ClassVar

from manyhands.model.event_hub import Event as Event  # noqa: PLC0414
from manyhands.model.event_hub import EventHub, event_hub
from manyhands.model.event_hub import Level as Level  # noqa: PLC0414
from manyhands.model.event_hub import Subscriber as Subscriber  # noqa: PLC0414
from manyhands.model.refusal_summary import RefusalSummary as RefusalSummary  # noqa: PLC0414
from manyhands.model.refusal_summary import counted, named
from manyhands.model.socket_addresses import format_address

# As programs find them here, as they do the four above.
Hub = EventHub
hub = event_hub


@dataclass(frozen=True, slots=True)
class EngineFull(Event):
    """The engine reached its bound: accepting stops, and clients that call now wait in the kernel's backlog.

    Emitted once for each crowd: again only after the backlog has been emptied in between.
    """

    is_provoked: ClassVar[bool] = True

    listener: str
    engine: str
    limit: int

    def __str__(self) -> str:
        if self.engine == "workers":
            busy = "has no worker that takes another client now"
        else:
            busy = f"serves {self.limit} clients, all that its {self.engine} engine may"
        return f"{self.listener} {busy}: clients that call now wait in the backlog"


@dataclass(frozen=True, slots=True)
class ServerFull(Event):
    """`max_connections` are open: accepting stops, and clients that call now wait in the kernel's backlog.

    Emitted once for each crowd: again only after the backlog has been emptied in between.
    """

    is_provoked: ClassVar[bool] = True

    listener: str
    limit: int

    def __str__(self) -> str:
        return (
            f"{self.listener} has {self.limit} connections, all that max_connections allows: "
            "clients that call now wait in the backlog"
        )


@dataclass(frozen=True, slots=True)
class DatagramsFull(Event):
    """`max_datagrams` are being served: those that come now wait in the kernel's buffer, while it has room.

    Emitted once for each crowd: again only after the buffer has been emptied in between.
    """

    is_provoked: ClassVar[bool] = True

    listener: str
    limit: int

    def __str__(self) -> str:
        return (
            f"{self.listener} serves {self.limit} datagrams, all that max_datagrams allows: those that "
            "come now wait in the kernel's buffer, which drops what it cannot hold"
        )


@dataclass(frozen=True, slots=True)
class ConnectionsRefused(Event):
    """Connections were refused, or datagrams dropped: `summary` says how many, whose and why.

    The first one is told of at once, those after it together, at most once in ten seconds.
    """

    listener: str
    summary: RefusalSummary

    def __str__(self) -> str:
        return f"{self.listener} {self.summary}"


@dataclass(frozen=True, slots=True)
class AcceptPaused(Event):
    """`accept`, or the worker after it, failed for want of a resource, or the listener broke; it is retried.

    Emitted once for each shortage, at its first failure.
    """

    level: ClassVar[Level] = "error"
    is_provoked: ClassVar[bool] = True

    listener: str
    errno: int | None
    error: str

    def __str__(self) -> str:
        return f"{self.listener} cannot accept: {self.error}; trying again"


@dataclass(frozen=True, slots=True)
class AcceptResumed(Event):
    """Clients are accepted and served again after `paused` seconds."""

    level: ClassVar[Level] = "info"
    is_provoked: ClassVar[bool] = True

    listener: str
    paused: float

    def __str__(self) -> str:
        return f"{self.listener} accepts again after {self.paused:.1f} s"


@dataclass(frozen=True, slots=True)
class BacklogRefused(Event):
    """`accept` kept failing for so long, lately with `error`, that `count` clients were closed unserved."""

    level: ClassVar[Level] = "error"
    is_provoked: ClassVar[bool] = True

    listener: str
    count: int
    error: str

    def __str__(self) -> str:
        return f"{self.listener} closed {self.count} waiting clients unserved: {self.error}"


@dataclass(frozen=True, slots=True)
class HandshakeFailed(Event):
    """A TLS handshake failed or took longer than `handshake_timeout`; the handler never ran."""

    level: ClassVar[Level] = "info"
    is_provoked: ClassVar[bool] = True

    peer: object
    error: str

    def __str__(self) -> str:
        return f"the TLS handshake of {format_address(self.peer)} failed: {self.error}"


@dataclass(frozen=True, slots=True)
class BadProxyHeader(Event):
    """A connection did not begin with a PROXY header, came from outside `proxy_trusted`, or took too long.

    `peer` is the one that connected, as a rule the balancer. No event tells of one that goes without a word,
    as health checks do.
    """

    is_provoked: ClassVar[bool] = True

    peer: object
    error: str

    def __str__(self) -> str:
        return f"no PROXY header was taken from {format_address(self.peer)}: {self.error}"


@dataclass(frozen=True, slots=True)
class CertificateReloaded(Event):
    """The files of the certificates were read again, `certfile` the first: new connections are shown them."""

    level: ClassVar[Level] = "info"

    certfile: str

    def __str__(self) -> str:
        return f"the certificates were reloaded ({self.certfile})"


@dataclass(frozen=True, slots=True)
class CertificateNotReloaded(Event):
    """The files of the certificates cannot be used as they are now: the old certificates are kept.

    Emitted once for each state of the files, and whenever they are to be reloaded at once.
    """

    level: ClassVar[Level] = "error"

    error: str

    def __str__(self) -> str:
        return f"the certificates were not reloaded, and the old ones are kept: {self.error}"


@dataclass(frozen=True, slots=True)
class CertificateExpires(Event):
    """A certificate that is shown to clients, or its chain, expires in `days`; it has where that is negative.

    Emitted 30, 14, 7, 3 and 1 days before its end, and at its end, once each for a certificate; of one that
    is valid for less than 90 days, within the last third of its life. `not_after` is in seconds since 1970.
    """

    certfile: str
    not_after: float
    days: float

    def __str__(self) -> str:
        when = datetime.fromtimestamp(self.not_after, UTC).strftime("%Y-%m-%d %H:%M UTC")
        if self.days <= 0:
            return f"the certificate {self.certfile}, or its chain, has expired ({when}): clients refuse it"
        return f"the certificate {self.certfile}, or its chain, expires in {self.days:.1f} days ({when})"


@dataclass(frozen=True, slots=True)
class NothingToReload(Event):
    """A server was asked by `signal` to read its files again, and has none: it goes on as it was."""

    level: ClassVar[Level] = "info"

    signal: str

    def __str__(self) -> str:
        return f"{self.signal} came, and there is nothing to reload"


@dataclass(frozen=True, slots=True)
class SignalIgnored(Event):
    """A signal came that means nothing to a server, and would have ended the process: it goes on."""

    level: ClassVar[Level] = "info"

    signal: str

    def __str__(self) -> str:
        return f"{self.signal} came, which means nothing here"


@dataclass(frozen=True, slots=True)
class StacksFollow(Event):
    """A signal (SIGUSR1, SIGQUIT) asks where the handlers stand: `count` of them, each a `HandlerStack`."""

    level: ClassVar[Level] = "info"

    signal: str
    count: int

    def __str__(self) -> str:
        return f"{self.signal} came, which asks for the stacks of {counted(self.count, 'handler')}"


@dataclass(frozen=True, slots=True)
class HandlerStack(Event):
    """Where the handler of a connection stands: the `stack` of connection `number`, the innermost call last.

    Emitted in the process of the handler, where it has one of its own.
    """

    level: ClassVar[Level] = "info"

    number: int
    peer: object
    handler: str
    age: float
    stack: str

    def __str__(self) -> str:
        peer = format_address(self.peer)
        return f"#{self.number} {peer}, {self.age:.1f} s old: {self.handler}\n{self.stack.rstrip()}"


@dataclass(frozen=True, slots=True)
class DatagramTruncated(Event):
    """A datagram was longer than `max_packet_size` (`limit`, in bytes); the handler gets its beginning."""

    is_provoked: ClassVar[bool] = True

    listener: str
    peer: object
    limit: int

    def __str__(self) -> str:
        peer = format_address(self.peer)
        return f"{self.listener} cut a datagram of {peer} to {self.limit} bytes (max_packet_size)"


@dataclass(frozen=True, slots=True)
class ClientFellBehind(Event):
    """A client did not read what was sent to it, and `waiting` bytes filled its outbox.

    Either its connection is closed (`is_closed`), or pieces are dropped from now on: told of once for each
    connection. See the options `outbox` and `when_behind`.
    """

    is_provoked: ClassVar[bool] = True

    number: int
    listener: str
    client_address: object
    waiting: int
    is_closed: bool

    def __str__(self) -> str:
        what = "its connection is closed" if self.is_closed else "pieces for it are dropped"
        return (
            f"{format_address(self.client_address)} does not read what is sent to it, {self.waiting} bytes "
            f"wait: {what}"
        )


@dataclass(frozen=True, slots=True)
class ForkedWithThreads(Event):
    """A process was forked while `threads` threads were alive: a lock held by another is held for ever."""

    threads: int

    def __str__(self) -> str:
        return (
            f"forked while {self.threads} threads were alive: their locks stay locked in the child"
        )


@dataclass(frozen=True, slots=True)
class WorkerFailed(Event):
    """No thread or process could be had for a connection, for so long that it was closed unserved."""

    level: ClassVar[Level] = "error"
    is_provoked: ClassVar[bool] = True

    engine: str
    peer: object
    error: str

    def __str__(self) -> str:
        peer = format_address(self.peer)
        return f"no worker of the {self.engine} engine could be had for {peer}: {self.error}"


@dataclass(frozen=True, slots=True)
class WorkerDied(Event):
    """The process of a worker has ended by itself, or was killed: another one takes its place.

    `lost` connections that it had begun have ended with it, for the reason ``worker_died``; `dealt_again`
    ones that it had not begun go to other workers.
    """

    level: ClassVar[Level] = "error"

    number: int
    pid: int
    generation: int
    how: str
    lost: int
    dealt_again: int

    def __str__(self) -> str:
        lost = f": {counted(self.lost, 'connection')} ended with it" if self.lost else ""
        return f"worker {self.number} (process {self.pid}) has ended, {self.how}{lost}"


@dataclass(frozen=True, slots=True)
class WorkerHung(Event):
    """The accept loop of a worker has stood still for longer than `worker_timeout`: the worker is replaced.

    `stacks` is where its threads stood, as `faulthandler` writes it; empty where it did not tell.
    """

    level: ClassVar[Level] = "error"

    number: int
    pid: int
    seconds: float
    stacks: str

    def __str__(self) -> str:
        where = (
            f":\n{self.stacks.rstrip()}"
            if self.stacks
            else ", and it does not tell where it stands"
        )
        return (
            f"worker {self.number} (process {self.pid}) has not turned for {self.seconds:.0f} s: it is ended "
            f"now{where}"
        )


@dataclass(frozen=True, slots=True)
class WorkerCutOff(Event):
    """A worker that has left, while the server goes on, has cut off `count` connections.

    `connections` has a line for each of the first ones: its number, its client, its age, and what its handler
    was executing. What the end of the whole server cuts off `run` returns.
    """

    level: ClassVar[Level] = "warning"

    number: int
    pid: int
    generation: int
    count: int
    connections: str

    def __str__(self) -> str:
        cut_off = counted(self.count, "connection")
        left = f"worker {self.number} (process {self.pid}) has left, and cut off {cut_off}"
        return f"{left}:\n{self.connections}"


@dataclass(frozen=True, slots=True)
class Reloaded(Event):
    """A new generation of workers serves, with the code that is on disk now."""

    level: ClassVar[Level] = "info"

    generation: int
    workers: int

    def __str__(self) -> str:
        return (
            f"reloaded: generation {self.generation} serves, with {counted(self.workers, 'worker')}"
        )


@dataclass(frozen=True, slots=True)
class NotReloaded(Event):
    """A new generation could not begin to serve: the old one goes on, untouched."""

    level: ClassVar[Level] = "error"

    generation: int
    why: str

    def __str__(self) -> str:
        return f"not reloaded, the old workers go on: {self.why}"


@dataclass(frozen=True, slots=True)
class Upgraded(Event):
    """Another program has taken the supervisor's process over, with its listeners and its workers."""

    level: ClassVar[Level] = "info"

    version: str
    python: str
    open: int

    def __str__(self) -> str:
        return (
            f"upgraded: manyhands {self.version} on Python {self.python} has taken over, with "
            f"{counted(self.open, 'open connection')}"
        )


@dataclass(frozen=True, slots=True)
class NotUpgraded(Event):
    """The program that is on disk now cannot take the supervisor's process over: the old one goes on."""

    level: ClassVar[Level] = "error"

    why: str

    def __str__(self) -> str:
        return f"not upgraded, the old program goes on: {self.why}"


@dataclass(frozen=True, slots=True)
class ProgramChanged(Event):
    """`count` files of the program have changed, `files` first: a reload begins (``--reload``)."""

    level: ClassVar[Level] = "info"

    count: int
    files: tuple[str, ...]

    def __str__(self) -> str:
        more = self.count - len(self.files)
        others = f" and {counted(more, 'other file')}" if more else ""
        has = "has" if self.count == 1 else "have"
        return f"{', '.join(self.files)}{others} {has} changed: the program is loaded anew"


@dataclass(frozen=True, slots=True)
class WorkersNotForked(Event):
    """The program has threads once it is imported, so no worker can be forked: each imports it by itself."""

    threads: int

    def __str__(self) -> str:
        return (
            f"the program has {self.threads} threads once it is imported, so each worker imports it by "
            "itself: a fork would copy the locks that they hold"
        )


@dataclass(frozen=True, slots=True)
class HandlerSpins(Event):
    """A handler in a fiber has read `times` at the end of its input, and goes on; from now on it is slowed.

    `handler` and `peer` are those of its connection, and `stack` is its stack, in the form of a traceback.
    """

    is_provoked: ClassVar[bool] = True

    handler: str
    peer: object
    times: int
    stack: str

    def __str__(self) -> str:
        peer = format_address(self.peer)
        return (
            f"{self.handler} for {peer} has read {self.times} times at the end of its input, and goes on "
            f"(an empty read is the client's end, and no reason to try again):\n{self.stack.rstrip()}"
        )


@dataclass(frozen=True, slots=True)
class HubBlocked(Event):
    """A fiber has held up all others for `seconds`, more than `hub_block_time`, and still does.

    `handler` and `peer` are those of its connection, and `stack` is its stack, in the form of a traceback.
    `cause` is the row of the table in [drop-in.md](drop-in.md#what-cannot-be-cured-on-fibers) to look at.
    """

    is_provoked: ClassVar[bool] = True

    handler: str
    peer: object
    seconds: float
    stack: str
    cause: str = "it computes, or waits in C code"

    def __str__(self) -> str:
        peer = format_address(self.peer)
        return (
            f"{self.handler} for {peer} has held up all other fibers for {self.seconds:.2f} s: {self.cause} "
            "(manyhands.blocking runs such a call in a thread; docs/drop-in.md has a table of what cannot be "
            f"cured on fibers):\n{self.stack.rstrip()}"
        )


@dataclass(frozen=True, slots=True)
class HubUnblocked(Event):
    """The fiber of the last `HubBlocked` lets others run again, after about `seconds` in all."""

    level: ClassVar[Level] = "info"
    is_provoked: ClassVar[bool] = True

    handler: str
    peer: object
    seconds: float

    def __str__(self) -> str:
        peer = format_address(self.peer)
        return f"{self.handler} for {peer} lets others run again, after {self.seconds:.2f} s"


@dataclass(frozen=True, slots=True)
class Draining(Event):
    """A server that was told to stop waits for `open` connections, for `timeout` seconds in all.

    Emitted once in each drain, when it has not been over in half a second.
    """

    level: ClassVar[Level] = "info"

    open: int
    timeout: float

    def __str__(self) -> str:
        conversations = counted(self.open, "conversation")
        return f"stopping: waits up to {self.timeout:g} s for {conversations} to come to an end"


@dataclass(frozen=True, slots=True)
class EventsDropped(Event):
    """A queued subscriber was too slow: `count` events were not handed to it, and never will be."""

    count: int

    def __str__(self) -> str:
        were = "was" if self.count == 1 else "were"
        events = counted(self.count, "event")
        return f"{events} {were} dropped here: what is told of them is too slow"


@dataclass(frozen=True, slots=True)
class LinesLost(Event):
    """A log of manyhands could not write `count` lines to standard error, the last one for `error`.

    Told of when it can write again: its disk was full, or what reads it had gone.
    """

    count: int
    error: str

    def __str__(self) -> str:
        were = "was" if self.count == 1 else "were"
        lines = counted(self.count, "line")
        return f"{lines} {were} lost here: standard error could not be written ({self.error})"


@dataclass(frozen=True, slots=True)
class RepeatedEvents(Event):
    """What clients can cause as often as they like has happened `count` times more within `seconds`.

    Logs make it: they tell of the first of its `kind` at once, and of those after it together, at most once
    in ten seconds. `peers` are the first few clients, no host twice. In a log it has the level of its kind.
    """

    kind: str
    count: int
    peers: tuple[object, ...]
    seconds: float

    def __str__(self) -> str:
        times = "once" if self.count == 1 else f"{self.count} times"
        peers = f", from {named(self.peers)}" if self.peers else ""
        return f"{self.kind}, {times} more within {self.seconds:.1f} s{peers}"


@dataclass(frozen=True, slots=True)
class ConnectionLost(Event):
    """A handler failed since its connection had ended under it: the client reset it, or the server ended it.

    Of a `manyhands.Server`: that is no error of the program, and no traceback is printed. `reason` is the
    word of `Reason`, and `error` the class of the exception.
    """

    level: ClassVar[Level] = "info"
    is_provoked: ClassVar[bool] = True

    listener: str
    peer: object
    reason: str
    error: str

    def __str__(self) -> str:
        peer = format_address(self.peer)
        why = f"{self.reason} ({self.error})"
        return f"the connection of {peer} on {self.listener} ended under its handler: {why}"


@dataclass(frozen=True, slots=True)
class NoControlSocket(Event):
    """No control socket could be had where one is made by itself, or after an upgrade; `error` says why."""

    level: ClassVar[Level] = "info"

    error: str

    def __str__(self) -> str:
        return f"no control socket: {self.error}"


@dataclass(frozen=True, slots=True)
class ConnectionClosed(Event):
    """A connection that the registry had as open is closed, after `age` seconds, for `reason`.

    Emitted for every one of them, so only to subscribers that name it: ``subscribe(tell, ConnectionClosed)``.
    `reason` is the word of `Reason`; `bytes_in` and `bytes_out` are None where nothing counts them.
    """

    level: ClassVar[Level] = "info"
    is_on_request: ClassVar[bool] = True

    number: int
    listener: str
    peer: object
    reason: str
    age: float
    bytes_in: int | None
    bytes_out: int | None

    def __str__(self) -> str:
        counted = self.bytes_in is not None and self.bytes_out is not None
        traffic = f"{self.bytes_in} bytes in, {self.bytes_out} bytes out, " if counted else ""
        peer = format_address(self.peer)
        return f"#{self.number} {peer} on {self.listener}: {self.reason}, {traffic}{self.age:.3f} s"


@dataclass(frozen=True, slots=True)
class HubReached(Event):
    """A worker has reached the hub that it had lost: what is told reaches all workers again."""

    level: ClassVar[Level] = "info"

    worker: int

    def __str__(self) -> str:
        return f"worker {self.worker} has reached the hub again, and with it the other workers"


@dataclass(frozen=True, slots=True)
class HubLost(Event):
    """The hub between the workers has gone: until it is back, rooms and the exchange are each one's own.

    What was on its way is lost.
    """

    worker: int

    def __str__(self) -> str:
        return f"worker {self.worker} has lost the hub: until it is back, what is told stays in this worker"


@dataclass(frozen=True, slots=True)
class MissedFromWorkers(Event):
    """A worker did not take what others told: `missed` pieces and messages were dropped on their way.

    Their members and subscribers have them counted, or are closed, as `when_behind` says.
    """

    is_provoked: ClassVar[bool] = True

    worker: int
    missed: int

    def __str__(self) -> str:
        return f"worker {self.worker} has missed {self.missed} of what other workers told: it was too slow"


def kinds() -> tuple[type[Event], ...]:
    """Return the class of every event, in the order of this module."""
    # A module keeps the order of its definitions.
    classes = [value for value in globals().values() if isinstance(value, type)]
    return tuple(kind for kind in classes if issubclass(kind, Event) and kind is not Event)
