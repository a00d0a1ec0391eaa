"""The options of `manyhands.Server` as its attributes: some may be changed while it runs.

A handler's `self.server` is a listener; there they are the attributes of the server that it belongs to.
"""

from collections.abc import Mapping
from typing import Any, Never

from manyhands.config.options import BY_NAME
from manyhands.model.usage_errors import Mistake
from manyhands.serving.suspend import refuse_a_copy


class OptionAttribute:
    """One option of a server as its attribute."""

    def __set_name__(self, kind: type, name: str) -> None:
        self._name = name

    def __get__(self, server: Any, kind: type) -> Any:
        return self if server is None else server._options[self._name]


class Adjusted(OptionAttribute):
    """One that may be changed: checked when it is set. Thread-safe.

    Raises
    ------
    Mistake
        When the value does not fit.
    RuntimeError
        In the process of a forked handler, which has only a copy of the server.
    """

    def __set__(self, server: Any, value: object) -> None:
        BY_NAME[self._name].as_served().check(value)
        refuse_a_copy(f"set {self._name} of the server", *server._listeners)
        server._options[self._name] = value
        server._room.door.look_soon()
        server.notice()


class Fixed(OptionAttribute):
    """One that is settled when the server is made.

    Raises
    ------
    Mistake
        When somebody sets it: that would change nothing.
    """

    def __set__(self, server: Any, value: object) -> Never:
        raise settled(self._name, value)


def settled(name: str, value: object) -> Mistake:
    """Return the mistake of somebody who sets an option that is settled."""
    return Mistake(
        f"{name} is settled when a server is made: give it to Server(..., {name}={value!r})"
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
    ssl_context = Fixed()


class OfOwner:
    """An attribute of a listener that is its owner's.

    Raises
    ------
    RuntimeError
        When it is set by a handler that an earlier run of the server has left behind.
    """

    def __init__(self, name: str) -> None:
        self._name = name

    def __get__(self, listener: Any, kind: type) -> Any:
        return self if listener is None else getattr(listener.owner, self._name)

    def __set__(self, listener: Any, value: object) -> None:
        owner = listener.owner
        if listener.run is not owner.current_run:
            raise RuntimeError(f"{self._name} cannot be set: that run of the server has ended")
        setattr(owner, self._name, value)


class SettledForListener:
    """An attribute of a listener that is settled; each connection asks for some, so it is kept here."""

    def __init__(self, name: str, value: object) -> None:
        self._name = name
        self._value = value

    def __get__(self, listener: Any, kind: type) -> Any:
        return self._value

    def __set__(self, listener: Any, value: object) -> Never:
        raise settled(self._name, value)


def as_attributes(options: Mapping[str, object]) -> dict[str, object]:
    """Return what makes a server's `options` the attributes of its listeners."""
    return {
        name: SettledForListener(name, options[name])
        if isinstance(attribute, Fixed)
        else OfOwner(name)
        for name, attribute in vars(AdjustableServer).items()
        if isinstance(attribute, OptionAttribute)
    }
