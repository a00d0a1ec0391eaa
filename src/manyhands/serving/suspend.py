"""Standing still and coming to an end: what servers of all kinds do for `suspend`, `resume` and `drain`."""

import contextlib
import socket
import time
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

from manyhands.connections.conversation import current
from manyhands.engines import Engine
from manyhands.runtime.fork_hooks import parent_server
from manyhands.runtime.sockets import has_client_waiting, is_closed

if TYPE_CHECKING:
    from manyhands.serving.drain import CutOff


def stand_still(server: Any, *, is_to: bool) -> None:
    """Have the accept loops leave a server's listener alone, or look at it again; wake them.

    Raises
    ------
    RuntimeError
        In the process of a forked handler, which has only a copy of the server.
    """
    refuse_a_copy("suspend the server" if is_to else "resume the server", server)
    vars(server)["_stands_still"] = is_to
    server._wake_loops()


def refuse_a_copy(deed: str, *servers: Any) -> None:
    """Raise `RuntimeError` when the caller is a forked handler of one of these: the deed would be in vain."""
    conversation = current()
    if parent_server() is not None and conversation is not None and conversation.server in servers:
        raise RuntimeError(
            f"a handler in a process of its own cannot {deed}, for it has a copy of it"
        )


def refuse_a_handler(*servers: Any) -> None:
    """Raise `RuntimeError` when the caller is a conversation of one of these: it would wait for itself."""
    served = current()
    if served is not None and served.server in servers:
        raise RuntimeError(
            "the server is being served: call stop(), or a drop-in's shutdown(), for a handler is one of "
            "those whom the end waits for"
        )


def serve_backlog(server: Any, engine: Engine, is_in_a_hurry: Callable[[], bool]) -> None:
    """Serve those who have connected already: to close the listener would be to hang up on them.

    Of a server that was suspended nobody is.
    """
    if getattr(server, "socket_type", None) != socket.SOCK_STREAM or server._stands_still:
        return
    if _has_let_go(server):
        return
    # No more than the backlog holds: others may be calling all the time.
    for _ in range(server.request_queue_size):
        if (
            is_in_a_hurry()
            or not (engine.has_room() and server._engine_room.door.has_room())
            or server.fileno() < 0
            or not has_client_waiting(server)
        ):
            break
        server._handle_request_noblock()
        if server._seconds_to_rest(time.monotonic()):
            break  # out of descriptors, or of workers


def drain_drop_in(
    server: Any, stop: Callable[[], None], stop_and_wait: Callable[[], None], timeout: float
) -> "list[CutOff]":
    """Drain a server of the `socketserver` family; `stop` has its loops end."""
    from manyhands.serving.drain import drain, ring  # noqa: PLC0415 - a drop-in should not pay for what few programs call

    room, engine = server._engine_room, server._engine_of_next_request()
    if engine.name == "sequential":  # which serves in the loop, and ends with it
        stop()
    else:
        # One step: a stop that comes when they have ended would be kept for the next `serve_forever`.
        stop_and_wait()
        serve_backlog(server, engine, lambda: False)
    _stop_listening(server)
    ring(room)
    return drain(room, timeout, lambda: False, lambda most: all(e.join(most) for e in room.engines))


class LetGo(socket.socket):
    """Stands where a listening socket was that this process has let go of."""


def _stop_listening(server: Any) -> None:
    """Have the kernel refuse who calls from now on, unless other processes listen on the same socket.

    Nothing is done to the socket itself, which pre-forked servers share, and systemd holds for the next run.
    """
    listening: Any = getattr(server, "socket", None)
    if getattr(server, "socket_type", None) == socket.SOCK_STREAM and not is_closed(listening):
        # Without a descriptor to be had for it, the closed socket stays.
        with contextlib.suppress(OSError, AttributeError):
            server.socket = LetGo(listening.family, listening.type)
        listening.close()


def _has_let_go(server: Any) -> bool:
    return isinstance(getattr(server, "socket", None), LetGo)


def refuse_the_drained(servers: Iterable[Any]) -> None:
    """Raise `ValueError`, as for closed listeners, when a drain has let go of one of these."""
    if any(map(_has_let_go, servers)):
        raise ValueError("the server has drained, and listens no more: make a new one")
