"""manyhands on fibers with everything switched on: limits, deadlines, books, metrics, and a control socket.

``GUARDED`` in the environment leaves out what it names, to find what a part costs: ``-limits,-control``.
"""

import contextlib
import os
import sys

from handlers import handlers

import manyhands
from manyhands import Server, metrics

OPTIONS = {
    "limits": {
        "max_connections": 20_000,
        "max_connections_per_ip": 20_000,
        "max_rate": 1e6,
        "max_rate_per_ip": 1e6,
        "deny": "192.0.2.0/24",
    },
    "timeouts": {"idle_timeout": 300, "write_timeout": 60, "max_age": 3600},
    "control": {"control": f"@manyhands-bench-{os.getpid()}"},
}

if __name__ == "__main__":
    without = os.environ.get("GUARDED", "").split(",")
    options = {}
    for name, values in OPTIONS.items():
        options |= {} if f"-{name}" in without else values
    server = Server(
        handlers(manyhands)[sys.argv[1]], "tcp://127.0.0.1:0", engine="fibers", **options
    )
    server.listen()
    with contextlib.ExitStack() as stack:
        if "-metrics" not in without:
            stack.enter_context(metrics.serve(server, "tcp://127.0.0.1:0"))
        server.run(lambda: print(server.addresses[0].port, flush=True))
