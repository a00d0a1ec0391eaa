"""The servers of a worker whose program calls `handle_request` itself, and how its loop comes to an end.

Such a program knows no end: it calls again and again. So in a worker that drains the calls go on while there
is something to serve; then the next one waits for the connections, and raises `SystemExit`.
"""

import contextlib
import math
import select
import socket
import threading
import time
from collections.abc import Callable
from functools import partial
from typing import Any, Never

from manyhands.runtime.locks import Latch
from manyhands.runtime.sockets import has_client_waiting
from manyhands.runtime.wakeup import PollableLatch
from manyhands.serving.core import ServerCore, core_of
from manyhands.serving.drain import drain, give_notice
from manyhands.workers.dealt_socket import DealtSocket


class RequestTurns:
    """Those servers. Thread-safe.

    Raises
    ------
    OSError
        When no descriptor is left.
    """

    def __init__(self) -> None:
        self._servers: list[Any] = []
        self._notice = PollableLatch()
        self._ends_at = math.inf
        """When their connections must have ended, once the worker drains."""

        self.has_left = Latch()
        """Set when a call has waited for the connections."""

    def __contains__(self, server: object) -> bool:
        """Tell whether a server is one of them."""
        return any(each is server for each in self._servers)

    def __bool__(self) -> bool:
        """Tell whether there are any."""
        return bool(self._servers)

    def end(self, seconds: float) -> None:
        """Have their calls come to an end, and the connections in so many seconds."""
        was_ending = self._is_ending
        self._ends_at = time.monotonic() + seconds
        self._notice.set()
        for server in self._servers:
            if isinstance(server.socket, DealtSocket):
                with contextlib.suppress(OSError):  # closed by now
                    server.socket.end()
            if was_ending:
                _in_thread(partial(server.drain, seconds))
            elif core_of(server).engines.of(server).name == "sequential":
                _in_thread(partial(self._drain_while_serving, core_of(server)))

    @property
    def _is_ending(self) -> bool:
        return self._ends_at < math.inf

    def _drain_while_serving(self, core: ServerCore) -> None:
        """Drain what is served in the very thread that calls, which comes to nothing else meanwhile."""
        began = time.monotonic()
        give_notice(core)
        drain(core, lambda: self._ends_at - began, lambda: False, self.has_left.wait, began)

    def serve(self, server: Any, handle_request: Callable[[Any], Any]) -> Any:
        """Serve one request of a server, as the program has called for.

        Raises
        ------
        SystemExit
            When the worker drains, and there is none that waits.
        """
        if server not in self:
            self._servers.append(server)
        if self._is_over_for(server):
            self._leave()
        # Others are not ended from outside: this socket for datagrams is the next worker's too.
        if not isinstance(server.socket, DealtSocket):
            if not self._waits_for(server):
                return server.handle_timeout()
            if self._is_over_for(server):
                self._leave()
        return handle_request(server)

    def _is_over_for(self, server: Any) -> bool:
        if not self._is_ending:
            return False
        if isinstance(server.socket, DealtSocket):
            return server.socket.has_ended()
        return server.socket_type != socket.SOCK_DGRAM or not has_client_waiting(server)

    def _waits_for(self, server: Any) -> bool:
        """Wait until there is a request, or the worker drains; return False when there is neither in time."""
        timeouts = [
            each for each in (server.timeout, server.socket.gettimeout()) if each is not None
        ]
        poll = select.poll()
        poll.register(server, select.POLLIN)
        poll.register(self._notice, select.POLLIN)
        return bool(poll.poll(1000 * min(timeouts) if timeouts else None))

    def _leave(self) -> Never:
        for server in self._servers:
            with contextlib.suppress(OSError, ValueError, RuntimeError):
                server.drain(max(0.0, self._ends_at - time.monotonic()))
        self.has_left.set()
        raise SystemExit(0)


def _in_thread(act: Callable[[], object]) -> None:
    def run() -> None:
        with contextlib.suppress(OSError, ValueError, RuntimeError):
            act()

    threading.Thread(target=run, daemon=True).start()
