"""The options of `manyhands.Server` as its attributes: some may be changed while it runs.

A handler's `self.server` is a listener; there they are the attributes of the server that it belongs to.
"""

from typing import Any, Never

from .rules.deadlines import NAMES as DEADLINES
from .rules.mistakes import Mistake
from .rules.options import BY_NAME, LIMITS
from .servers.standing import refuse_a_copy

OF_LISTENERS = (*LIMITS, "handshake_timeout", *DEADLINES)
"""Which options may be changed that listeners go by."""


class Adjusted:
    """One option as an attribute: checked when it is set. Thread-safe.

    Raises
    ------
    Mistake
        When the value does not fit.
    RuntimeError
        In the process of a forked handler, which has only a copy of the server.
    """

    def __set_name__(self, kind: type, name: str) -> None:
        self._name = name

    def __get__(self, server: Any, kind: type) -> Any:
        return self if server is None else server._options[self._name]

    def __set__(self, server: Any, value: object) -> None:
        BY_NAME[self._name].as_served().check(value)
        refuse_a_copy(f"set {self._name} of the server", *server._listeners)
        server._options[self._name] = value
        server._room.door.look_soon()
        server.notice()


class Fixed:
    """One option as an attribute that is settled when the server is made.

    Raises
    ------
    Mistake
        When somebody sets it: that would change nothing.
    """

    def __set_name__(self, kind: type, name: str) -> None:
        self._name = name

    def __get__(self, server: Any, kind: type) -> Any:
        return self if server is None else server._options[self._name]

    def __set__(self, server: Any, value: object) -> Never:
        raise Mistake(
            f"{self._name} is settled when a server is made: give it to Server(..., {self._name}={value!r})"
        )


class AdjustableServer:
    """The options of a server as its attributes; a change holds from the next connection on.

    Deadlines hold for the connections that are open as well, half a second later at the most.
    """

    max_connections = Adjusted()
    max_connections_per_ip = Adjusted()
    ipv6_prefix = Adjusted()
    max_rate = Adjusted()
    max_rate_per_ip = Adjusted()
    rate_burst = Adjusted()
    rate_burst_per_ip = Adjusted()
    allow = Adjusted()
    deny = Adjusted()
    when_full = Adjusted()
    refusal = Adjusted()
    handshake_timeout = Adjusted()
    idle_timeout = Adjusted()
    write_timeout = Adjusted()
    max_age = Adjusted()
    drain_timeout = Adjusted()

    max_threads = Fixed()
    max_children = Fixed()
    max_fibers = Fixed()
    hub_block_time = Fixed()
    request_queue_size = Fixed()
    allow_reuse_port = Fixed()
    max_packet_size = Fixed()
    certfile = Fixed()
    keyfile = Fixed()
    client_ca = Fixed()
    client_certificates = Fixed()
    alpn = Fixed()
    proxy_protocol = Fixed()
    proxy_trusted = Fixed()
    unlink_on_close = Fixed()


class OfOwner:
    """An attribute of a listener that is its owner's."""

    def __init__(self, name: str) -> None:
        self._name = name

    def __get__(self, listener: Any, kind: type) -> Any:
        return self if listener is None else getattr(listener.owner, self._name)

    def __set__(self, listener: Any, value: object) -> None:
        setattr(listener.owner, self._name, value)


OF_OWNER = {name: OfOwner(name) for name in OF_LISTENERS}
"""Those options, as attributes of listeners."""
