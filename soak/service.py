"""The program under test: ``python -m soak.service ENGINE FOLDER``. It writes JSON lines to standard output.

First its addresses; then an answer to each letter on standard input; when it has
been told to stop, its books.
"""

import json
import os
import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any

from manyhands import Server, logs
from soak.authority import Authority
from soak.handler import Echo
from soak.troubles import Troubles

if TYPE_CHECKING:
    from collections.abc import Callable

DEADLINE = 2.0
"""Seconds: `write_timeout` and `handshake_timeout`."""

IDLE = 2 * DEADLINE
"""Seconds: `idle_timeout`. A client that reads nothing is silent too, and must be found to be stuck first."""

DRAIN = 2.0
"""Seconds: `drain_timeout`."""

BACKLOG = 4096

DENY_THREADS, ALLOW_THREADS, NO_TROUBLES, BOOKS = (b"d", b"a", b"n", b"b")
"""Have the system make no thread; let it again; make no more trouble; tell the books."""


def main(engine: Any, folder: Path) -> None:
    """Serve until a signal."""
    # Of each connection's end and of all that goes wrong, to a reader that does not always read.
    log = logs.StderrLog(logs.JSONLines(), access=True)
    log.log_events()
    log.log_errors()
    authority = Authority(folder)
    authority.issue()
    server = Server(
        Echo,
        "tcp://127.0.0.1:0",
        "tls://127.0.0.1:0",
        engine=engine,
        certfile=[str(authority.certfile)],
        keyfile=[str(authority.keyfile)],
        idle_timeout=IDLE,
        write_timeout=DEADLINE,
        handshake_timeout=DEADLINE,
        drain_timeout=DRAIN,
        request_queue_size=BACKLOG,
    )
    troubles = Troubles(server, authority)
    orders: dict[bytes, Callable[[], object]] = {
        DENY_THREADS: troubles.threads.deny,
        ALLOW_THREADS: troubles.threads.allow,
        NO_TROUBLES: troubles.stop,
        BOOKS: lambda: books(server, troubles),
    }

    def obey() -> None:
        # Not of `sys.stdin`, whose lock the interpreter's end would wait for.
        while order := os.read(0, 1):
            _say(orders[order]())

    def announce() -> None:
        plain, tls = server.addresses
        _say({"plain": plain.port, "tls": tls.port, "ca": str(authority.ca)})
        threading.Thread(target=obey, daemon=True).start()
        troubles.start()

    cut_off = server.run(announce)
    log.end()
    _say(books(server, troubles) | {"cut_off": [str(each) for each in cut_off]})


def books(server: Server, troubles: Troubles) -> dict[str, Any]:
    """Return what became of the connections, and what the server did to itself."""
    accepted, still_open, closed = server.connections.balance
    return {
        "accepted": accepted,
        "open": still_open,
        "closed": closed,
        "reasons": {reason.value: count for reason, count in server.connections.closed.items()},
        "troubles": troubles.counts,
    }


def _say(what: object) -> None:
    sys.stdout.write(json.dumps(what) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))
