"""The one table of options, and the look-ups in it.

An option stands here and nowhere else: the keywords of `manyhands.Server`, its attributes, the class
attributes of drop-in servers, the flags of the commands, ``docs/options.md`` and what editors know
(`manyhands.config.keywords`) are derived from its row. `tools/write_options.py` writes the last two.

A drop-in server has its options as attributes. Programs have attributes of all names, and some of them, such
as `max_threads`, are older than ours. So a value that is not what the option takes is taken for something
else, and ignored. Two things are not: an access rule with a slip in it (`access_mistake`), with which the
server would serve every client, and a limit with one (`slips`).
"""

import os
from collections.abc import Mapping
from functools import partial
from typing import Any, TypeVar

from manyhands.config.option import Option, defaults, refuse_useless
from manyhands.config.option_types import (
    MOST_WORKERS,
    Choice,
    ChoiceOrHandler,
    File,
    Message,
    Name,
    NetworkList,
    Rate,
    Seconds,
    Several,
    SocketPlace,
    Switch,
    Whole,
    Workers,
)
from manyhands.model.pieces import WHEN_BEHIND
from manyhands.model.usage_errors import Mistake, closest

# The groups that have most in common.
_of_engine = partial(Option, group="engine")
_of_listener = partial(Option, group="listener")
_of_tls = partial(Option, group="tls")
_limit = partial(Option, group="limits", owners=("BaseServer",), is_unset=True, is_adjustable=True)
_of_workers = partial(Option, group="workers", needs=("workers",))
_of_control = partial(Option, group="control")
_outbox = partial(Option, group="outbox", owners=("BaseServer",), is_unset=True, is_adjustable=True)
_deadline = partial(Option, group="deadlines", owners=("BaseServer",), is_adjustable=True)

# In the order of `--help` and of the documentation.
_ROWS = (
    _of_engine(
        "engine",
        Choice("sequential", "threads", "processes", "fibers"),
        "serve one client after the other, or each in a thread, a process or a fiber",
        server_default="threads",
        # Looked up on the class: an instance's attribute of this name is the program's own.
        owners=("BaseServer",),
        is_unset=True,
    ),
    _of_engine(
        "max_threads",
        Whole(at_least=1, unit="threads"),
        "clients served at once; above it the kernel's backlog holds them",
        owners=("ThreadingMixIn",),
        engines=("threads",),
    ),
    _of_engine(
        "max_children",
        Whole(at_least=1, unit="processes"),
        "clients served at once by processes",
        default=40,
        owners=("ForkingMixIn",),
        engines=("processes",),
    ),
    _of_engine(
        "max_fibers",
        Whole(at_least=1, unit="fibers"),
        "clients served at once by fibers; above it the kernel's backlog holds them",
        owners=("FiberMixIn",),
        engines=("fibers",),
    ),
    _of_engine(
        "hub_block_time",
        Seconds(),
        "time that one fiber may hold up all others before an event names it",
        default=0.1,
        or_none=True,
        owners=("FiberMixIn",),
        engines=("fibers",),
    ),
    _of_listener(
        "request_queue_size",
        # `listen` takes a C int, which the kernel cuts to `net.core.somaxconn` (listen(2)).
        Whole(at_least=1, at_most=2**31 - 1, unit="connections"),
        "the backlog: connections that the kernel holds until they are accepted",
        # The standard library's 5 resets clients that come in a burst.
        default=1024,
        owners=("TCPServer",),
    ),
    _of_listener(
        "allow_reuse_address",
        Switch(),
        "take a port again at once after a restart",
        # SO_REUSEADDR (socket(7)). Elsewhere it means that two servers can share a port.
        default=os.name == "posix",
        owners=("TCPServer",),
        is_of_server=False,
    ),
    _of_listener(
        "allow_reuse_port",
        Switch(),
        "let several servers listen on one port, the kernel dealing out the connections",
        default=False,
        owners=("TCPServer", "UDPServer"),
    ),
    _of_listener(
        "no_delay",
        Switch(),
        "send small writes at once (TCP_NODELAY); a drop-in server that does not say does so on TLS "
        "connections",
        # Which are ours to make, so no program counts on their delay.
        server_default=True,
        owners=("TCPServer",),
    ),
    _of_listener(
        "max_packet_size",
        # The bound is far above any datagram that a kernel lets pass, and allocated for each receive.
        Whole(at_least=1, at_most=16 * 1024 * 1024, unit="bytes"),
        "the longest datagram that is taken whole",
        default=8192,
        server_default=65_535,
        owners=("UDPServer",),
    ),
    _of_engine(
        "daemon_threads",
        Switch(),
        "let the program end while threads still serve",
        default=False,
        owners=("ThreadingMixIn", "FiberMixIn"),
        is_of_server=False,
        engines=("threads", "fibers"),
    ),
    _of_engine(
        "block_on_close",
        Switch(),
        "let server_close() wait for the handlers",
        default=True,
        owners=("ThreadingMixIn", "ForkingMixIn", "FiberMixIn"),
        is_of_server=False,
    ),
    _of_tls(
        "certfile",
        Several(File()),
        "the certificate for tls:// addresses, with its chain, in PEM form; of several, the first "
        "is for names that none of them has; read again when the files change",
    ),
    _of_tls(
        "keyfile",
        Several(File()),
        "the key of the certificate, or of each in their order, where it is not in the same file",
    ),
    _of_tls(
        "client_ca",
        File(),
        "the authorities that vouch for clients' certificates, in PEM form",
    ),
    _of_tls(
        "client_certificates",
        Choice("none", "optional", "required"),
        "whether clients show a certificate that client_ca vouches for",
        default="required",
    ),
    _of_tls(
        "alpn",
        # A protocol's name is sent with its length in one byte (RFC 7301, section 3.1).
        Several(Name(longest=255)),
        "a protocol that is spoken over TLS (ALPN), the one preferred first",
    ),
    _limit(
        "max_connections",
        Whole(at_least=1, unit="connections"),
        "connections that are open at once, on all addresses of a server together",
        server_default=10_000,
    ),
    _limit(
        "max_datagrams",
        Whole(at_least=1, unit="datagrams"),
        "datagrams that are served at once, on all addresses of a server together; "
        "above it the kernel's buffer holds them, and drops what it cannot hold",
        # Each has a worker, and costs a sender, forged or not, nothing: so fewer than connections.
        server_default=1_000,
    ),
    _limit(
        "max_connections_per_ip",
        Whole(at_least=1, unit="connections"),
        "connections of one address that are open at once",
    ),
    _limit(
        "ipv6_prefix",
        Whole(at_least=1, at_most=128, unit="bits"),
        "the network of an IPv6 client that counts as one address",
        # The smallest network that a customer gets (RFC 6177); all its addresses are his (RFC 4291).
        default=64,
        is_unset=False,
        needs=("max_connections_per_ip", "max_rate_per_ip"),
    ),
    _limit("max_rate", Rate(), "new connections in a second"),
    _limit("max_rate_per_ip", Rate(), "new connections of one address in a second"),
    _limit(
        "rate_burst",
        Whole(at_least=1),
        "connections that may come at once while max_rate holds on average; "
        "none: as many as in one second",
        needs=("max_rate",),
    ),
    _limit(
        "rate_burst_per_ip",
        Whole(at_least=1),
        "connections of one address that may come at once while max_rate_per_ip holds on average; "
        "none: as many as in one second",
        needs=("max_rate_per_ip",),
    ),
    _limit(
        "allow",
        NetworkList(may_be_empty=False),
        "a network that clients must come from, as 10.0.0.0/8 or 192.0.2.1",
    ),
    _limit("deny", NetworkList(), "a network that clients must not come from"),
    _limit(
        "when_full",
        ChoiceOrHandler("wait", "refuse"),
        "what becomes of a client that calls when max_connections are open: it waits in the backlog, or is "
        "refused; in a program, a handler for those",
        default="wait",
        is_unset=False,
        needs=("max_connections",),
    ),
    _limit(
        "refusal",
        # What the emptiest send buffer takes at once (the least of `net.ipv4.tcp_wmem`, tcp(7)).
        Message(longest=4096),
        "what a refused client is told before its connection is closed, as it stands: no end of line is "
        "added, and no backslash means anything",
        needs=(
            *("when_full", "max_connections_per_ip"),
            *("max_rate", "max_rate_per_ip", "allow", "deny"),
        ),
    ),
    Option(
        "handshake_timeout",
        Seconds(),
        "time for a client's PROXY header and TLS handshake together",
        group="opening",
        default=10.0,
        or_none=True,
        owners=("BaseServer",),
        is_adjustable=True,
    ),
    Option(
        "proxy_protocol",
        Switch(),
        "require a PROXY header of each stream connection: a balancer says with it who the client is",
        group="opening",
        # As a class attribute it counts when it is True: other values are the program's own.
        default=False,
        owners=("BaseServer",),
    ),
    Option(
        "proxy_trusted",
        NetworkList(),
        "networks of the balancers whose PROXY headers count; a peer from elsewhere is refused",
        group="opening",
        default="127.0.0.0/8, ::1",
        owners=("BaseServer",),
        needs=("proxy_protocol",),
    ),
    _deadline(
        "idle_timeout",
        Seconds(),
        "time for which nothing is received until a connection is closed, whatever is sent on it",
        # Shorter than what balancers and gateways in front forget a silent connection after (350 s and up).
        server_default=300.0,
    ),
    _deadline(
        "write_timeout",
        Seconds(),
        "time for which a client acknowledges nothing of what waits for it until it is reset",
        server_default=60.0,
    ),
    _deadline("max_age", Seconds(), "time until a connection is closed, give or take a tenth"),
    _outbox(
        "outbox",
        # The least is what `Outbox.put` takes without a look at the bound.
        Whole(at_least=4096, unit="bytes"),
        "what may wait for a client to read of what other handlers send to it, beside the kernel's buffer",
        # Hours of conversation, and memory for thousands.
        default=256 * 1024,
    ),
    _outbox(
        "when_behind",
        Choice(*WHEN_BEHIND),
        "what becomes of a client that does not read, when its outbox is full: its connection is closed, or "
        "what waits longest or comes last is dropped, and counted",
        default="close",
    ),
    Option(
        "drain_timeout",
        Seconds(may_be_zero=True),
        "time that handlers get to finish when the server is told to stop",
        group="drain",
        default=30.0,
        is_adjustable=True,
    ),
    Option(
        "workers",
        Workers(at_most=MOST_WORKERS),
        "processes that serve, dealt their connections by a supervisor, or auto for one on each processor; "
        "none or 0: the one process serves by itself; Linux only",
        group="workers",
    ),
    _of_workers(
        "reload_drain",
        Choice("drain", "stay"),
        "what becomes of connections at a reload: they are drained, or stay with the workers that have them "
        "until they end",
        default="drain",
    ),
    _of_workers(
        "max_generations",
        # Each has a template and workers of its own, with all of the program in memory.
        Whole(at_least=1, at_most=10, unit="generations"),
        "generations of workers that there are at once; a reload that makes one more drains the oldest",
        default=3,
    ),
    _of_workers(
        "start_timeout",
        Seconds(),
        "time for a program to be imported, and for its workers to come up",
        default=60.0,
    ),
    _of_workers(
        "worker_timeout",
        Seconds(),
        "time for which a worker's accept loop may stand still until the worker is replaced",
        default=30.0,
        or_none=True,
    ),
    _of_control(
        "control",
        SocketPlace(may_be_auto=True),
        "the control socket, on which operators ask what the server does, and have it do something: a path, "
        "@NAME, or auto for a place by itself, as the commands have it",
    ),
    _of_control(
        "control_read",
        SocketPlace(may_be_auto=False),
        "one more control socket, on which nothing can be changed",
    ),
    Option(
        "automatic_reply",
        Switch(),
        "answer each datagram with what its handler wrote, even when that is nothing",
        group="handler",
        default=True,
        owners=("DatagramRequestHandler",),
        is_of_server=False,
    ),
    _of_listener(
        "unlink_on_close",
        Switch(),
        "remove the path of a Unix socket when its server closes",
        # The standard library leaves it there, and programs that remove it themselves fail when it is gone.
        # One that is left is taken over at the next start.
        default=False,
        server_default=True,
        owners=("TCPServer",),
    ),
)

OPTIONS = {row.name: row for row in _ROWS}
"""All options by name, with the defaults of the classes."""

SERVER_OPTIONS = {row.name: row.of_server() for row in _ROWS if row.is_of_server}
"""Those of `manyhands.Server` and `manyhands serve`, with their defaults."""

DROP_IN_OPTIONS = {row.name: row for row in _ROWS if row.owners}
"""Those that are class attributes of the drop-in, which `manyhands run` can set."""


CAN_HAVE_WORKERS = hasattr(os, "pidfd_open") and hasattr(os, "memfd_create")
"""Whether the system has what a supervisor and its workers stand on. Both are Linux's alone."""


def by_group(group: str) -> tuple[str, ...]:
    """Return the names of the options of one group: see `Option.group`."""
    return tuple(row.name for row in _ROWS if row.group == group)


def by_engine(engine: str) -> tuple[str, ...]:
    """Return the names of the options that an engine goes by; the bound of its workers is the first."""
    return tuple(row.name for row in _ROWS if engine in row.engines)


def checked(given: Mapping[str, object]) -> dict[str, Any]:
    """Check the keywords of `manyhands.Server`; return the values of all options, the defaults of others.

    Raises
    ------
    Mistake
        A keyword is no option, its value does not fit, or the system cannot do it; or it would do nothing
        without another one.
    """
    unknown = [name for name in given if name not in SERVER_OPTIONS]
    if unknown:
        near = closest(unknown[0], list(SERVER_OPTIONS))
        names = ", ".join(SERVER_OPTIONS)
        hint = f"; did you mean {near}?" if near else ""
        raise Mistake(f"{unknown[0]!r} is no option of Server; these are: {names}{hint}")
    for name, value in given.items():
        SERVER_OPTIONS[name].check(value)
    refuse_useless(given, SERVER_OPTIONS)
    if given.get("workers") and not CAN_HAVE_WORKERS:
        raise Mistake(
            "workers need Linux: another system cannot watch them, and deal them connections"
        )
    return {**defaults(SERVER_OPTIONS), **given}


_Class = TypeVar("_Class", bound=type)

_MIX_INS: dict[str, type] = {}
"""The mix-in that brings a setting of an engine. `engine` moves a server to engines that are not its
mix-in's: then the settings are those of the class that usually brings them."""


def has_options(owner: _Class) -> _Class:
    """Give a class the options whose rows name it, as attributes with their defaults. A decorator."""
    for name, option in DROP_IN_OPTIONS.items():
        if owner.__name__ not in option.owners:
            continue
        if not option.is_unset:
            setattr(owner, name, option.default)
        # Several have `daemon_threads`: other servers go by the first in the row.
        if option.group == "engine" and option.owners[0] == owner.__name__:
            _MIX_INS[name] = owner
    return owner


def setting(name: str, server: Any) -> Any:
    """Return the option `name` as `server` has it, else as its mix-in, else its default."""
    option = DROP_IN_OPTIONS[name]
    # `manyhands run` and programs set attributes of the mix-ins, which the server may not stand on.
    for place in (server, _MIX_INS.get(name)):
        value = getattr(place, name, option.default)
        if option.fits(value):
            return value
    return option.default


ACCESS_RULES = ("allow", "deny")
"""The options that say which clients are served: a mistake in one of them must not open the server."""


def access_mistake(name: str, value: object) -> str | None:
    """Return what is wrong with a list of networks that an option has; None where nothing is, or it is none.

    Returns
    -------
    str or None
        A sentence that names the option and the bad entry.
    """
    option = DROP_IN_OPTIONS[name]
    kind = option.kind
    assert isinstance(kind, NetworkList)  # noqa: S101 - tells the type checker
    if option.fits(value) or not kind.is_meant(value):
        return None
    return f"{name}: {kind.mistake(value)}"


def check_access(server: object) -> None:
    """Check the access rules that a drop-in server, or its class, has as plain attributes. Before it serves.

    Raises
    ------
    Mistake
        One of them is meant as a list of networks, and is none.
    """
    own, kind = vars(server), type(server)

    def found(name: str) -> object:
        # No property of the program's is asked, which may be for later: it counts while the server serves.
        return own.get(name, getattr(kind, name, None))

    for name in (*ACCESS_RULES, "proxy_trusted"):
        value = found(name)
        if value is None or (name == "proxy_trusted" and found("proxy_protocol") is not True):
            continue  # as of most servers
        mistake = access_mistake(name, value)
        if mistake is not None:
            raise Mistake(f"{kind.__name__}.{mistake}")


def slips(name: str, server: object) -> bool:
    """Tell whether an option of a server is meant, and has a value that it does not take."""
    option = DROP_IN_OPTIONS[name]
    value = getattr(server, name, option.default)
    return not option.fits(value) and option.kind.is_meant(value)


def is_on(name: str, server: Any) -> bool:
    """Tell whether the switch `name` is on: any value will do, as in the standard library."""
    try:
        return bool(getattr(server, name))
    except AttributeError:
        return bool(getattr(_MIX_INS.get(name), name, DROP_IN_OPTIONS[name].default))
