"""The program under test: ``python -m soak.service ENGINE FOLDER``. It writes JSON lines to standard output.

First its addresses; when it has been told to stop, its books and what it did to itself.
"""

import json
import signal
import sys
from pathlib import Path
from typing import Any

from manyhands import Server, logs
from soak.authority import Authority
from soak.handler import Echo
from soak.troubles import Troubles

DEADLINE = 2.0
"""Seconds: `write_timeout` and `handshake_timeout`."""

IDLE = 2 * DEADLINE
"""Seconds: `idle_timeout`. Who reads nothing is silent as well, and must be found to be stuck first."""

BACKLOG = 4096


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
        request_queue_size=BACKLOG,
    )
    troubles = Troubles(server, authority)

    def announce() -> None:
        plain, tls = server.addresses
        _say({"plain": plain.port, "tls": tls.port, "ca": str(authority.ca)})
        troubles.start()

    signal.signal(signal.SIGUSR1, lambda *_: troubles.stop())
    cut_off = server.run(announce)
    log.end()
    accepted, still_open, closed = server.connections.balance
    _say(
        {
            "accepted": accepted,
            "open": still_open,
            "closed": closed,
            "reasons": {reason.value: count for reason, count in server.connections.closed.items()},
            "cut_off": [str(each) for each in cut_off],
            "troubles": troubles.counts,
        }
    )


def _say(what: dict[str, Any]) -> None:
    sys.stdout.write(json.dumps(what) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))
