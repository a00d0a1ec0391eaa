"""The options of admission: how many connections, how fast, and from where. Rows of the one table."""

from manyhands.rules.address_key import IPV6_PREFIX
from manyhands.rules.kinds import ChoiceOrHandler, NetworkList, Rate, Said, Whole
from manyhands.rules.option import Option

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
