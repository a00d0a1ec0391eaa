"""Which connection a handler serves."""

import weakref
from typing import Any

from manyhands.connections.connection import Connection, current_connection
from manyhands.model.usage_errors import Mistake
from manyhands.runtime.fork_hooks import parent_server
from manyhands.serving.core import core_if_made, core_of

_found: "dict[int, tuple[weakref.ref[Any], int]]" = {}
"""The numbers of connections that were looked for in a registry, where other threads than their own use
handlers whose `wfile` does not tell. By the handlers' identity: two of them may be equal."""


def connection_of(handler: Any) -> Connection | None:
    """Return the connection that a handler serves, in any thread; None where it serves none."""
    request = handler.request
    served = current_connection()
    if served is not None and (served.request is request or served.serves(request)):
        return served if served.is_registered else None
    core = core_if_made(handler.server)
    if core is None:
        return None
    # In a thread that the handler has started, or in another handler's: only the registry knows it there.
    number: int = getattr(getattr(handler, "wfile", None), "number", 0) or _found_before(handler)
    if number:
        registry = core.registry
        return registry.get(number) if parent_server() is not None else registry.here(number)
    every = core.registry.snapshot()
    if parent_server() is not None:
        # A handler's process serves one, which is in the registry of its parent.
        tasks = (task for engine in core.engines for task in engine.tasks)
        every += [task for task in tasks if isinstance(task, Connection)]
    found = next((each for each in every if each.request is request or each.serves(request)), None)
    if found is not None:
        identity = id(handler)
        _found[identity] = weakref.ref(handler, lambda _: _found.pop(identity, None)), found.number
    return found


def _found_before(handler: Any) -> int:
    known, number = _found.get(id(handler), (None, 0))
    return number if known is not None and known() is handler else 0


def connection_to_tell(handler: Any) -> Connection | None:
    """Return the connection on which a handler's client can be told things; None where it is over.

    Raises
    ------
    RuntimeError
        The handler serves a datagram.
    """
    if type(handler.request) is tuple:
        raise RuntimeError(
            f"this {type(handler).__name__} serves a datagram, which has no connection: answer it with "
            "wfile, or with `self.request[1].sendto`"
        )
    return connection_of(handler)


def connection_meant(by: Any) -> Connection | None:
    """Return the connection that a handler stands for, or that is given itself; None for None.

    Raises
    ------
    Mistake
        It is neither.
    """
    if by is None or isinstance(by, Connection):
        return by
    if not hasattr(by, "request") or not hasattr(by, "server"):
        raise Mistake(f"`but` is a handler, or a connection, not {by!r}")
    return connection_of(by)


def tell(server: object, room: str, data: Any, but: Any) -> int:
    """Send a piece to all members of a server's room, but to one; see `BaseServer.tell`."""
    core = core_of(server)
    return core.rooms.tell(room, data, core.options.outbox_terms(server), connection_meant(but))
