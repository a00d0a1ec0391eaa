"""What is in the way of a port (EADDRINUSE): the program that listens there, or whose connections keep it.

The kernel lets a server that sets SO_REUSEADDR have a port on which no socket listens, past connections whose
own socket had it too, from the listener that accepted them (socket(7); `inet_bind_conflict` in
net/ipv4/inet_connection_sock.c). A connection that did not have it keeps the port for as long as it is there,
as a rule for a minute of TIME_WAIT, and nothing that another program sets takes the port back.
"""

import math
import socket
from collections.abc import Sequence
from typing import Any

from manyhands.listening import proc_net
from manyhands.listening.proc_net import LINGERING, LISTENING, Entry
from manyhands.model.socket_addresses import format_address

SHOWN = 3
"""Connections that a sentence names; it counts the others."""

FIRST_EPHEMERAL_PORT = 32_768
"""From here on ports are for clients, unless the kernel says otherwise (`ip_local_port_range`, ip(7))."""


def what_holds(listener: socket.socket, address: Any) -> str:
    """Say what keeps `listener` from `address`, in words that may stand in brackets behind it.

    Parameters
    ----------
    listener : socket.socket
        The socket that could not be bound, or could not listen.
    address : object
        What it was to be bound to.
    """
    if listener.family not in {socket.AF_INET, socket.AF_INET6}:
        return f"held by {proc_net.UNKNOWN}"
    if not address[1]:
        return "no port is free of those that the kernel gives out (ip_local_port_range, ip(7))"
    is_stream = listener.type == socket.SOCK_STREAM
    entries = proc_net.entries_on(address[1], "tcp" if is_stream else "udp")
    if entries is None:
        or_kept = ", or kept by connections of a server that has ended" if is_stream else ""
        return f"held by {proc_net.UNKNOWN}{or_kept}"
    in_the_way = [entry for entry in entries if _overlaps(listener, address[0], entry.host)]
    listening = [entry for entry in in_the_way if not is_stream or entry.state == LISTENING]
    if listening:
        return f"held by {proc_net.owner_of(listening)}"
    if not in_the_way:
        # Such a TCP socket stands in no table.
        not_yet = ", which is bound there and does not listen" if is_stream else ""
        return f"held by {proc_net.UNKNOWN}{not_yet}"
    return _kept_by(in_the_way, listener, address)


def _kept_by(connections: Sequence[Entry], listener: socket.socket, address: Any) -> str:
    over = [entry for entry in connections if not entry.is_owned]
    open_still = [entry for entry in connections if entry.is_owned]
    kept = []
    if open_still:
        kept.append(f"by {_shown(open_still)}, of {proc_net.owner_of(open_still)}")
    if over:
        of_a_client = "a client or " if address[1] >= _first_ephemeral_port() else ""
        kept.append(f"{_until(over)} by {_shown(over)}, of {of_a_client}a server that has ended")
    return f"kept {' and '.join(kept)}; {_advice(listener, address, is_over=not open_still)}"


def _advice(listener: socket.socket, address: Any, *, is_over: bool) -> str:
    is_reusing = listener.getsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR)
    if not is_reusing and _can_be_reused(listener, address):
        return "allow_reuse_address takes it back"
    if is_over and not is_reusing:
        return (
            "allow_reuse_address takes it back only from a server that had set it too: wait, or choose "
            "another port"
        )
    if is_over:
        return "it had not set SO_REUSEADDR (allow_reuse_address), so wait, or choose another port"
    return "wait until that is over, or choose another port"


def _can_be_reused(listener: socket.socket, address: Any) -> bool:
    try:
        with socket.socket(listener.family, listener.type) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if listener.family == socket.AF_INET6:
                probe.setsockopt(
                    socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, _takes_ipv6_only(listener)
                )
            probe.bind(address)
    except OSError:
        return False
    return True


def _until(over: Sequence[Entry]) -> str:
    seconds = [entry.seconds for entry in over]
    known = [each for each in seconds if each is not None]
    if len(known) < len(seconds):
        return "at least until the peer has acknowledged the end"
    # FIN_WAIT2 becomes a TIME_WAIT of its own when the peer closes.
    at_least = "" if all(entry.state == LINGERING for entry in over) else "at least "
    return f"for {at_least}{math.ceil(max(known))} s more"


def _shown(entries: Sequence[Entry]) -> str:
    states = dict.fromkeys(entry.state_name for entry in entries)
    return " and ".join(
        _in_state(state, [entry for entry in entries if entry.state_name == state])
        for state in states
    )


def _in_state(state: str, entries: Sequence[Entry]) -> str:
    peers = [format_address(entry.peer) for entry in entries[:SHOWN]]
    if len(entries) > SHOWN:
        peers.append(f"{len(entries) - SHOWN} more peers")
    count = f"{len(entries)} connection{'s' if len(entries) > 1 else ''}"
    return f"{count} to {', '.join(peers)} in {state}"


def _overlaps(listener: socket.socket, host: Any, other: bytes) -> bool:
    """Tell whether `listener` cannot have `host` while another socket has the IP address `other`."""
    ours = _packed(listener.family, host)
    if ours is None:
        return True  # a name; which of its addresses it was is not known
    if len(ours) == 16 and len(other) == 4 and (any(ours) or _takes_ipv6_only(listener)):
        return False
    if len(ours) == 4 and len(other) == 16 and any(other):
        return False
    return not any(ours) or not any(other) or ours == other


def _takes_ipv6_only(listener: socket.socket) -> int:
    return listener.getsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY)


def _packed(family: int, host: Any) -> bytes | None:
    text = host.decode("ascii", "replace") if isinstance(host, (bytes, bytearray)) else str(host)
    every = "::" if family == socket.AF_INET6 else "0.0.0.0"  # noqa: S104 - what "" means to bind
    try:
        return proc_net.unmapped(socket.inet_pton(family, text.partition("%")[0] or every))
    except OSError:
        return None


def _first_ephemeral_port() -> int:
    try:
        return int(proc_net.read(f"{proc_net.PROC}/sys/net/ipv4/ip_local_port_range").split()[0])
    except (IndexError, ValueError):
        return FIRST_EPHEMERAL_PORT
