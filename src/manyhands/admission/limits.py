"""What admission limits, and to how much."""

from typing import NamedTuple

from manyhands.model.networks import Networks
from manyhands.model.socket_addresses import IP, IPV6_PREFIX

_NO_NETWORKS = Networks()


class Limits(NamedTuple):
    """The limits of a server; None: no limit. Replaced as a whole, never changed.

    The options' table has checked the values.

    Attributes
    ----------
    max_connections_per_ip : int or None
        Connections of one address, of IPv6 one network, that are open at once.
    ipv6_prefix : int
        Bits of the IPv6 network that the limits per address count as one address.
    max_rate : float or None
        New connections per second.
    max_rate_per_ip : float or None
        New connections per second of one address.
    rate_burst, rate_burst_per_ip : int or None
        Connections that may come at once, as long as the rate holds on average; None: as many as may come
        in one second, at least one.
    allow : Networks
        Where clients must come from; when empty, they may come from anywhere. Neither `allow` nor `deny`
        concerns a Unix socket: its file's permissions say who may connect.
    deny : Networks
        Where they must not come from, `allow` or not.
    """

    max_connections_per_ip: int | None = None
    ipv6_prefix: int = IPV6_PREFIX
    max_rate: float | None = None
    max_rate_per_ip: float | None = None
    rate_burst: int | None = None
    rate_burst_per_ip: int | None = None
    allow: Networks = _NO_NETWORKS
    deny: Networks = _NO_NETWORKS

    def denies(self, client_address: object, ip: IP | None) -> bool:
        """Tell whether `allow` and `deny` keep a client out.

        Parameters
        ----------
        client_address : object
            What `accept` gave.
        ip : IP or None
            What `client_ip` reads of it.
        """
        # A Unix socket, or an address that a PROXY header is still to announce.
        if ip is None and not isinstance(client_address, tuple):
            return False
        return self.deny.hold(ip) or (bool(self.allow) and not self.allow.hold(ip))
