"""The options of admission: how many connections, how fast, and from where. Rows of the one table."""

import argparse
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from manyhands.config import option
from manyhands.config.option import Option
from manyhands.config.option_types import (
    Choice,
    ChoiceOrHandler,
    File,
    Name,
    NetworkList,
    OptionValue,
    Rate,
    Said,
    Seconds,
    Several,
    Switch,
    Whole,
)
from manyhands.model.socket_addresses import IPV6_PREFIX
from manyhands.model.usage_errors import Mistake

#: Bytes: what the emptiest send buffer takes at once (the least of `net.ipv4.tcp_wmem`, tcp(7)).
LONGEST_REFUSAL = 4096

_OWNERS = ("BaseServer",)

ADMISSION: tuple[Option, ...] = (
    Option(
        "max_connections",
        default=None,
        kind=Whole(at_least=1),
        unit="connections",
        help="connections that are open at once, on all addresses of a server together",
        owners=_OWNERS,
        may_be_none=True,
        server_default=10_000,
    ),
    Option(
        "max_connections_per_ip",
        default=None,
        kind=Whole(at_least=1),
        unit="connections",
        help="connections of one address that are open at once",
        owners=_OWNERS,
        may_be_none=True,
    ),
    Option(
        "ipv6_prefix",
        default=IPV6_PREFIX,
        kind=Whole(at_least=1, at_most=128),
        unit="bits",
        help="the network of an IPv6 client that counts as one address",
        owners=_OWNERS,
    ),
    Option(
        "max_rate",
        default=None,
        kind=Rate(),
        unit="per second",
        help="new connections in a second",
        owners=_OWNERS,
        may_be_none=True,
    ),
    Option(
        "max_rate_per_ip",
        default=None,
        kind=Rate(),
        unit="per second",
        help="new connections of one address in a second",
        owners=_OWNERS,
        may_be_none=True,
    ),
    Option(
        "rate_burst",
        default=None,
        kind=Whole(at_least=1),
        unit="",
        help="connections that may come at once while max_rate holds on average; "
        "none: as many as in one second",
        owners=_OWNERS,
        may_be_none=True,
    ),
    Option(
        "rate_burst_per_ip",
        default=None,
        kind=Whole(at_least=1),
        unit="",
        help="connections of one address that may come at once while max_rate_per_ip holds on average; "
        "none: as many as in one second",
        owners=_OWNERS,
        may_be_none=True,
    ),
    Option(
        "allow",
        default=None,
        kind=NetworkList(),
        unit="",
        help="a network that clients must come from, as 10.0.0.0/8 or 192.0.2.1",
        owners=_OWNERS,
        may_be_none=True,
    ),
    Option(
        "deny",
        default=None,
        kind=NetworkList(),
        unit="",
        help="a network that clients must not come from",
        owners=_OWNERS,
        may_be_none=True,
    ),
    Option(
        "when_full",
        default="wait",
        kind=ChoiceOrHandler(("wait", "refuse")),
        unit="",
        help="what becomes of who calls when max_connections are open: waits in the backlog, or is refused; "
        "in a program, a handler for those",
        owners=_OWNERS,
    ),
    Option(
        "refusal",
        default=None,
        kind=Said(longest=LONGEST_REFUSAL),
        unit="",
        help="what a refused client is told before its connection is closed, as it stands: no end of line is "
        "added, and no backslash means anything",
        owners=_OWNERS,
        may_be_none=True,
    ),
)


# The one table of options.
#
# An option has one name everywhere: the keyword of `manyhands.Server`, the class attribute of a
# drop-in server and, with dashes, the flag of `manyhands run` and `manyhands serve`.

#: Far above any datagram that a kernel lets pass, and allocated for each receive: more is a slip.
LARGEST_DATAGRAM = 16 * 1024 * 1024

#: `listen` takes a C int, which the kernel cuts to `net.core.somaxconn` (listen(2)).
LONGEST_BACKLOG = 2**31 - 1


#: A protocol's name is sent with its length in one byte (RFC 7301, section 3.1).
LONGEST_PROTOCOL = 255


OPTIONS: tuple[Option, ...] = (
    Option(
        "engine",
        default=None,
        kind=Choice(("sequential", "threads", "processes", "fibers")),
        unit="",
        help="serve one client after the other, or each in a thread, a process or a fiber",
        owners=("BaseServer",),
        may_be_none=True,
        server_default="threads",
    ),
    Option(
        "max_threads",
        default=None,
        kind=Whole(at_least=1),
        unit="threads",
        help="clients served at once; above it the kernel's backlog holds them",
        owners=("ThreadingMixIn",),
        may_be_none=True,
    ),
    Option(
        "max_children",
        default=40,
        kind=Whole(at_least=1),
        unit="processes",
        help="clients served at once by processes",
        owners=("ForkingMixIn",),
    ),
    Option(
        "max_fibers",
        default=None,
        kind=Whole(at_least=1),
        unit="fibers",
        help="clients served at once by fibers; above it the kernel's backlog holds them",
        owners=("FiberMixIn",),
        may_be_none=True,
    ),
    Option(
        "hub_block_time",
        default=0.1,
        kind=Seconds(),
        unit="seconds",
        help="time that one fiber may hold up all others before an event names it",
        owners=("FiberMixIn",),
        may_be_none=True,
    ),
    Option(
        "request_queue_size",
        default=1024,
        kind=Whole(at_least=1, at_most=LONGEST_BACKLOG),
        unit="connections",
        help="the backlog: connections that the kernel holds until they are accepted",
        owners=("TCPServer",),
    ),
    Option(
        "allow_reuse_address",
        default=True,
        kind=Switch(),
        unit="",
        help="take a port again at once after a restart",
        owners=("TCPServer",),
    ),
    Option(
        "allow_reuse_port",
        default=False,
        kind=Switch(),
        unit="",
        help="let several servers listen on one port, the kernel dealing out the connections",
        owners=("TCPServer", "UDPServer"),
    ),
    Option(
        "max_packet_size",
        default=8192,
        kind=Whole(at_least=1, at_most=LARGEST_DATAGRAM),
        unit="bytes",
        help="the longest datagram that is taken whole",
        owners=("UDPServer",),
        server_default=65_535,
    ),
    Option(
        "daemon_threads",
        default=False,
        kind=Switch(),
        unit="",
        help="let the program end while threads still serve",
        owners=("ThreadingMixIn", "FiberMixIn"),
    ),
    Option(
        "block_on_close",
        default=True,
        kind=Switch(),
        unit="",
        help="let server_close() wait for the handlers",
        owners=("ThreadingMixIn", "ForkingMixIn", "FiberMixIn"),
    ),
    *ADMISSION,
    Option(
        "handshake_timeout",
        default=10.0,
        kind=Seconds(),
        unit="seconds",
        help="time for a client's PROXY header and TLS handshake together",
        owners=("BaseServer",),
        may_be_none=True,
    ),
    Option(
        "proxy_protocol",
        default=False,
        kind=Switch(),
        unit="",
        help="require a PROXY header of each stream connection: a balancer says with it who the client is",
        owners=("BaseServer",),
    ),
    Option(
        "proxy_trusted",
        default="127.0.0.0/8, ::1",
        kind=NetworkList(),
        unit="",
        help="networks of the balancers whose PROXY headers count; who comes from elsewhere is refused",
        owners=("BaseServer",),
    ),
    Option(
        "idle_timeout",
        default=None,
        kind=Seconds(),
        unit="seconds",
        help="time for which nothing is received until a connection is closed, whatever is sent on it",
        owners=("BaseServer",),
        may_be_none=True,
        # Shorter than what balancers and gateways in front forget a silent connection after (350 s and up).
        server_default=300.0,
    ),
    Option(
        "write_timeout",
        default=None,
        kind=Seconds(),
        unit="seconds",
        help="time for which a client acknowledges nothing of what waits for it until it is reset",
        owners=("BaseServer",),
        may_be_none=True,
        server_default=60.0,
    ),
    Option(
        "max_age",
        default=None,
        kind=Seconds(),
        unit="seconds",
        help="time until a connection is closed, give or take a tenth",
        owners=("BaseServer",),
        may_be_none=True,
    ),
    Option(
        "certfile",
        default=None,
        kind=Several(File()),
        unit="",
        help="the certificate for tls:// addresses, with its chain, in PEM form; of several, the first "
        "is for names that none of them has; read again when the files change",
        owners=(),
        may_be_none=True,
    ),
    Option(
        "keyfile",
        default=None,
        kind=Several(File()),
        unit="",
        help="the key of the certificate, or of each in their order, where it is not in the same file",
        owners=(),
        may_be_none=True,
    ),
    Option(
        "client_ca",
        default=None,
        kind=File(),
        unit="",
        help="the authorities that vouch for clients' certificates, in PEM form",
        owners=(),
        may_be_none=True,
    ),
    Option(
        "client_certificates",
        default="required",
        kind=Choice(("none", "optional", "required")),
        unit="",
        help="whether clients show a certificate that client_ca vouches for",
        owners=(),
    ),
    Option(
        "alpn",
        default=None,
        kind=Several(Name(longest=LONGEST_PROTOCOL)),
        unit="",
        help="a protocol that is spoken over TLS (ALPN), the one preferred first",
        owners=(),
        may_be_none=True,
    ),
    Option(
        "drain_timeout",
        default=30.0,
        kind=Seconds(may_be_zero=True),
        unit="seconds",
        help="time that handlers get to finish when the server is told to stop",
        owners=(),
    ),
    Option(
        "automatic_reply",
        default=True,
        kind=Switch(),
        unit="",
        help="answer each datagram with what its handler wrote, even when that is nothing",
        owners=("DatagramRequestHandler",),
    ),
    Option(
        "unlink_on_close",
        default=True,
        kind=Switch(),
        unit="",
        help="remove the path of a Unix socket when its server closes",
        owners=("TCPServer",),
    ),
)

BY_NAME: dict[str, Option] = {option.name: option for option in OPTIONS}

#: The options of admission.
LIMITS: tuple[str, ...] = tuple(option.name for option in ADMISSION)

#: The options that are attributes of drop-in classes: what `manyhands run` can set.
ATTRIBUTES: tuple[str, ...] = tuple(option.name for option in OPTIONS if option.owners)


def checked(given: Mapping[str, object], names: Sequence[str]) -> dict[str, Any]:
    """Check the keywords of `manyhands.Server`; return the values of all options, the defaults of others.

    Raises
    ------
    Mistake
        A keyword is none of `names`, its value does not fit, or it would do nothing without another one.
    """
    unknown = [name for name in given if name not in names]
    if unknown:
        raise Mistake(f"{unknown[0]!r} is no option of Server; these are: {', '.join(names)}")
    for name, value in given.items():
        BY_NAME[name].as_served().check(value)
    defaults = {name: BY_NAME[name].default_for(served=True) for name in names}
    option.check(given, defaults)
    return defaults | dict(given)


def add_to(
    parser: argparse.ArgumentParser | argparse._ArgumentGroup,
    names: Iterable[str] = tuple(BY_NAME),
    *,
    served: bool = False,
) -> None:
    """Give a parser the flags of options; one that is not given leaves no trace in the namespace.

    Parameters
    ----------
    parser : argparse.ArgumentParser or a group of one
        Where the flags go. A word that does not fit raises `Mistake` from its parse.
    names : iterable of str
        Which options, in the order of `--help`.
    served : bool
        Whether `--help` shows the defaults of `manyhands.Server`, else those of the classes.
    """
    for name in names:
        option = BY_NAME[name]
        _add(parser, option.as_served() if served else option, served=served)


def given(arguments: argparse.Namespace, *, served: bool) -> dict[str, OptionValue]:
    """Pick the options that were given on the command line.

    Parameters
    ----------
    arguments : argparse.Namespace
        What a parser that `add_to` extended returned.
    served : bool
        As of `add_to`.

    Returns
    -------
    dict
        Names and values, only of options that were given.

    Raises
    ------
    Mistake
        One of them would do nothing without another one.
    """
    values = {name: value for name, value in vars(arguments).items() if name in BY_NAME}
    defaults = {name: option.default_for(served=served) for name, option in BY_NAME.items()}
    option.check(values, defaults, lambda name: BY_NAME[name].flag)
    return values


def _add(
    parser: argparse.ArgumentParser | argparse._ArgumentGroup, option: Option, *, served: bool
) -> None:
    is_repeated = getattr(option.kind, "is_repeated", False)
    repeated = "may be repeated; " if is_repeated else ""
    help_text = f"{option.help} ({repeated}{_default_text(option, served=served)})"
    if option.is_switch:
        parser.add_argument(
            option.flag,
            action=argparse.BooleanOptionalAction,
            default=argparse.SUPPRESS,
            help=help_text,
        )
        return
    parser.add_argument(
        option.flag,
        action="append" if is_repeated else "store",
        type=option.parse,
        default=argparse.SUPPRESS,
        metavar=_metavar(option),
        help=help_text,
    )


def _metavar(option: Option) -> str:
    if isinstance(option.kind, Choice):
        return "|".join(option.kind.words)
    return getattr(option.kind, "metavar", option.unit.upper() or "NUMBER")


def _default_text(option: Option, *, served: bool) -> str:
    default = option.default_for(served=served)
    if option.is_switch:
        return f"default: {'yes' if default else 'no'}"
    if default is None:
        unbounded = "default: no bound" if option.unit else "default: none"
        return "default: as the class says" if option.name == "engine" else unbounded
    return f"default: {default} {option.unit}".rstrip()
