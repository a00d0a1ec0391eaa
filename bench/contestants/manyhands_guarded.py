"""manyhands on fibers with everything switched on: limits, deadlines, books in detail, and metrics."""

import sys

from handlers import handlers

import manyhands
from manyhands import Server, metrics

if __name__ == "__main__":
    server = Server(
        handlers(manyhands)[sys.argv[1]],
        "tcp://127.0.0.1:0",
        engine="fibers",
        max_connections=20_000,
        max_connections_per_ip=20_000,
        max_rate=1e6,
        max_rate_per_ip=1e6,
        deny="192.0.2.0/24",
        idle_timeout=300,
        write_timeout=60,
        max_age=3600,
    )
    server.listen()
    with metrics.serve(server, "tcp://127.0.0.1:0"):
        server.run(lambda: print(server.addresses[0].port, flush=True))
