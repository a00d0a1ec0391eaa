"""The options of `manyhands.Server` that may be changed while it runs: attributes of the server.

A handler's `self.server` is a listener; there they are the attributes of the server that it belongs to.
"""

from typing import Any

from .rules.admission_options import ADMISSION
from .rules.options import BY_NAME
from .servers.standing import refuse_a_copy

NAMES = tuple(option.name for option in ADMISSION)
"""Which options these are."""


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


class AdjustableServer:
    """The options that a server may change while it runs; a change holds from the next connection on."""

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


class OfOwner:
    """An attribute of a listener that is its owner's."""

    def __init__(self, name: str) -> None:
        self._name = name

    def __get__(self, listener: Any, kind: type) -> Any:
        return self if listener is None else getattr(listener.owner, self._name)

    def __set__(self, listener: Any, value: object) -> None:
        setattr(listener.owner, self._name, value)


OF_OWNER = {name: OfOwner(name) for name in NAMES}
"""Those options, as attributes of listeners."""
