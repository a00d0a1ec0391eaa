"""The peers whose PROXY headers are believed. The accept loop asks, before a connection gets a worker."""

import functools
import socket
from typing import Any

from manyhands.config.option_types import listed
from manyhands.connections.socket_classes import AwaitingHeader
from manyhands.model import lazy_events as events
from manyhands.model.connection_states import Reason
from manyhands.model.event_hub import hub
from manyhands.model.networks import Networks
from manyhands.model.usage_errors import Mistake
from manyhands.serving.core import core_of


def is_welcome(server: Any, request: Any, client_address: Any) -> bool:
    """Return whether to read the PROXY header of a connection; if not, it is counted as denied.

    A datagram has no header: for it the answer is that of `verify_request`.

    Raises
    ------
    TypeError
        When the program has overridden `get_request` and does not call ours.
    """
    if isinstance(request, tuple):
        return bool(server.verify_request(request, client_address))
    if not isinstance(request, AwaitingHeader):
        raise TypeError(
            "proxy_protocol is on, and get_request returned a connection that it did not get from ours: "
            "nobody would read its PROXY header"
        )
    # The permissions of a Unix socket's file say who may connect.
    if request.family == socket.AF_UNIX or client_address in _trusted(server):  # type: ignore[attr-defined]  # mixed into sockets
        return True
    core_of(server).admission.withdraw(request, Reason.REFUSED_DENIED)
    if hub.has_subscribers:
        hub.emit(
            events.BadProxyHeader(
                client_address, "proxy_trusted has not the address that it comes from"
            )
        )
    return False


def _trusted(server: Any) -> Networks:
    entries = listed(server.proxy_trusted)
    # A value that is no list of networks trusts no peer: falling back on the default would let peers forge
    # addresses.
    return _networks(entries) if all(isinstance(entry, str) for entry in entries) else Networks()


# Each connection asks, and to parse the networks would be most of the cost of accepting it.
@functools.lru_cache(maxsize=64)
def _networks(entries: tuple[str, ...]) -> Networks:
    try:
        return Networks.parse(entries)
    except Mistake:
        return Networks()
