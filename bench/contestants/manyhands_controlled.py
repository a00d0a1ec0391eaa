"""manyhands on fibers with a control socket, whose place is named for the process."""

import os
import sys

from handlers import handlers

import manyhands
from manyhands import Server

if __name__ == "__main__":
    server = Server(
        handlers(manyhands)[sys.argv[1]],
        "tcp://127.0.0.1:0",
        engine="fibers",
        max_connections=20_000,
        # Looking for deadlines costs two percent of a core with ten thousand, now more and now less.
        idle_timeout=None,
        write_timeout=None,
        control=f"@manyhands-bench-{os.getpid()}",
    )
    server.run(lambda: print(server.addresses[0].port, flush=True))
