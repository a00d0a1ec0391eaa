"""Does a crowd of idle clients slow the next one down?

Times connect, echo, close against `ThreadingTCPServer`, ours and the standard library's, with nobody else
there and with a crowd of idle clients, and prints the ratio crowd / nobody of each. The servers run in
processes of their own and are measured in turn, several rounds; medians are printed with their spread.

    python bench/idle_crowd.py [--crowd 4000] [--rounds 3] [--calls 300]
"""

import argparse
import contextlib
import json
import socket
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator

SERVER = """
import sys
if sys.argv[1] == "ours":
    from manyhands import socketserver
else:
    import socketserver

class Echo(socketserver.BaseRequestHandler):
    def handle(self):
        while data := self.request.recv(4096):
            self.request.sendall(data)

class Server(socketserver.ThreadingTCPServer):
    request_queue_size = 1024
    daemon_threads = False  # the kind whose threads are kept in books

with Server(("127.0.0.1", 0), Echo) as server:
    print(server.server_address[1], flush=True)
    server.serve_forever()
"""

CONTESTANTS = ("ours", "stdlib")


@contextlib.contextmanager
def running(contestant: str) -> Iterator[tuple[str, int]]:
    """Run an echo server in a process of its own; yield its address."""
    process = subprocess.Popen(
        [sys.executable, "-c", SERVER, contestant], stdout=subprocess.PIPE, text=True
    )
    try:
        assert process.stdout is not None
        yield "127.0.0.1", int(process.stdout.readline())
    finally:
        process.kill()
        process.wait()


def call(address: tuple[str, int]) -> float:
    """Connect, echo, close; return the seconds that it took."""
    began = time.perf_counter()
    with socket.create_connection(address) as client:
        client.sendall(b"hello")
        assert client.recv(5) == b"hello"
        client.shutdown(socket.SHUT_WR)
        assert client.recv(5) == b""
    return time.perf_counter() - began


@contextlib.contextmanager
def crowd_of(size: int, address: tuple[str, int]) -> Iterator[None]:
    """Keep `size` idle clients connected, each known to be served."""
    with contextlib.ExitStack() as stack:
        for _ in range(size):
            client = stack.enter_context(socket.create_connection(address))
            client.sendall(b"x")
            assert client.recv(1) == b"x"
        yield


def measure(contestant: str, crowd: int, calls: int) -> float:
    """Return the median seconds of a call with `crowd` idle clients there."""
    with running(contestant) as address, crowd_of(crowd, address):
        for _ in range(calls // 10):
            call(address)
        return statistics.median(call(address) for _ in range(calls))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--crowd", type=int, default=4000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--calls", type=int, default=300)
    arguments = parser.parse_args()
    ratios: dict[str, list[float]] = {name: [] for name in CONTESTANTS}
    for _ in range(arguments.rounds):
        for name in CONTESTANTS:
            alone = measure(name, 0, arguments.calls)
            crowded = measure(name, arguments.crowd, arguments.calls)
            ratios[name].append(crowded / alone)
            print(
                f"{name:7} alone {alone * 1e6:6.0f} us  crowd {crowded * 1e6:6.0f} us", flush=True
            )
    for name, values in ratios.items():
        print(
            f"{name:7} crowd of {arguments.crowd} / nobody: {statistics.median(values):.2f} "
            f"({min(values):.2f} to {max(values):.2f})"
        )
    print(json.dumps({"crowd": arguments.crowd, "ratios": ratios}))


if __name__ == "__main__":
    main()
