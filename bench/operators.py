"""What operators who look at a server cost it, and how long they wait: ``python -m bench.operators``.

On a control socket of `manyhands.Server` on fibers. It prints a table for docs/benchmarks.md.
"""

import argparse
import contextlib
import http.client
import json
import socket
import statistics
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from bench.contestants import Contestant
from bench.processes import Cores, MeasurementError, Server, crowd, load, on_cores, serving
from manyhands.control.client import Client, ControlError
from manyhands.control.discovery import Follower
from manyhands.web.feed import Feed
from manyhands.web.guards import LOOPBACK_NAMES
from manyhands.web.page import Page
from manyhands.web.tokens import new_token

CONTROLLED = Contestant(
    "manyhands-controlled",
    "manyhands on fibers, with a control socket",
    "manyhands_controlled.py",
    ("echo",),
    nodelay=False,
)

STALLED = 20
"""Clients that ask for much and read nothing, at once."""

PAGES = 15
"""Times that each page is asked for."""

LISTS: tuple[dict[str, Any], ...] = (
    {},
    {"sort": "-in"},
    {"sort": "peer", "where": {"peer": "127.0.0."}},
    {"sort": "-silent", "where": {"state": "open", "idle_over": 0}},
)
"""What the first page is asked for by: its order, and a filter."""

VIEWS: tuple[dict[str, Any], ...] = ({"sort": "id"}, {"sort": "-in"}, {"sort": "-silent"})
"""What each window of a page in the browser shows."""


def place_of(server: Server) -> str:
    """Return the place of the server's control socket, as its program has it."""
    return f"@manyhands-bench-{server.pid}"


@contextlib.contextmanager
def operator(server: Server) -> Iterator[Client]:
    """Connect to a server's control socket.

    Raises
    ------
    MeasurementError
        When it does not answer.
    """
    try:
        with Client(place_of(server)) as client:
            yield client
    except ControlError as error:
        raise MeasurementError(f"{error}{server.complaint()}") from error


def cpu_seconds(server: Server) -> float:
    """Return the processor time that a server's threads have had; those of now, to the nanosecond."""
    # sched(5) counts in ticks elsewhere, and a percent of a core is one in a second.
    times = Path(f"/proc/{server.pid}/task").glob("*/schedstat")
    return sum(int(each.read_text().split()[0]) for each in times) / 1e9


def first_pages(client: Client) -> dict[str, float]:
    """Time the first page of the open connections, in the order of their ids and in others."""
    medians = []
    for asked in LISTS:
        took = []
        for _ in range(PAGES):
            began = time.perf_counter()
            client.call("connections.list", **asked)
            took.append((time.perf_counter() - began) * 1000)
        medians.append(statistics.median(took))
    return {"page_ms": medians[0], "slowest_page_ms": max(medians)}


def looking_on(client: Client, server: Server, seconds: float) -> dict[str, float]:
    """Measure what part of a core clients take that look on, once a second."""
    idle = _share(server, seconds)
    client.watch("stats", every=1.0)
    watched = _share(server, seconds)
    screen = _share(server, seconds, lambda: client.call("connections.list", sort="-in", limit=50))
    client.watch()
    with windows(server) as look:
        page = _share(server, seconds, look)
    return {
        "watch_percent": 100 * (watched - idle),
        "screen_percent": 100 * (screen - idle),
        "page_percent": 100 * (page - idle),
    }


@contextlib.contextmanager
def windows(server: Server) -> Iterator[Callable[[], object]]:
    """Serve the page of a server to browsers that watch; yield what has each of them list connections."""
    follower, token = Follower(place_of(server)), new_token()
    with (
        Feed(follower, follower.connect()) as feed,
        Page(feed, token, LOOPBACK_NAMES, "tcp://127.0.0.1:0", is_admin=False) as page,
        page.server,
        contextlib.ExitStack() as stack,
    ):
        port = page.server.addresses[0].port
        headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}
        callers = []
        for _ in VIEWS:
            stream, caller = (http.client.HTTPConnection("127.0.0.1", port) for _ in range(2))
            stack.callback(stream.close)
            stack.callback(caller.close)
            stream.request("GET", "/events", headers=headers)
            callers.append(caller)

        def look() -> None:
            for caller, view in zip(callers, VIEWS, strict=True):
                verb = {"method": "connections.list", "params": {**view, "limit": 50}}
                body = json.dumps({"jsonrpc": "2.0", "id": 1, **verb})
                caller.request("POST", "/calls", body, headers)
                if "result" not in json.load(caller.getresponse()):
                    raise MeasurementError(f"the page lists no connections{server.complaint()}")

        yield look


def _share(server: Server, seconds: float, once: Callable[[], object] | None = None) -> float:
    """Return the share of a core that a server takes; `once` is done each second meanwhile."""
    before, began = cpu_seconds(server), time.monotonic()
    for _ in range(max(1, round(seconds))):
        if once is not None:
            once()
        time.sleep(min(1.0, seconds))
    return (cpu_seconds(server) - before) / (time.monotonic() - began)


@contextlib.contextmanager
def stalled_operators(server: Server) -> Iterator[None]:
    """Have clients that ask for more than they read, and one that watches."""
    request = json.dumps({"jsonrpc": "2.0", "id": 1, "method": "stacks"}).encode() + b"\n"
    with contextlib.ExitStack() as stack:
        watcher = stack.enter_context(operator(server))
        watcher.watch("stats", "events", every=1.0)
        for _ in range(STALLED):
            peer = stack.enter_context(socket.socket(socket.AF_UNIX))
            peer.connect(f"\0{place_of(server)[1:]}")
            peer.setblocking(False)
            with contextlib.suppress(BlockingIOError):
                while True:
                    peer.send(request)
        yield


def measure_looking(size: int, seconds: float, cores: Cores) -> dict[str, float]:
    """Measure on a server with an idle crowd what its operators wait for, and what they cost."""
    with (
        serving(CONTROLLED, "echo", cores) as server,
        crowd(size, server, cores),
        on_cores(cores.load),
        operator(server) as client,
    ):
        return {**first_pages(client), **looking_on(client, server, seconds)}


def measure_stalled(connections: int, seconds: float, cores: Cores) -> dict[str, float]:
    """Put a load on a server, alone and then with operators that do not read: the latency of its clients."""
    options = {"connections": connections, "size": 64, "seconds": seconds, "patience": 10}
    with serving(CONTROLLED, "echo", cores) as server:
        alone = load("echo", server, cores, warmup=seconds / 4, **options)["latency_us"]
        with stalled_operators(server):
            among = load("echo", server, cores, warmup=seconds / 4, **options)["latency_us"]
    return {"p99_ms": among["p99"] / 1000, "slowdown_p99": among["p99"] / alone["p99"]}


ROWS = (
    ("page_ms", "first page, by id, ms", "50 ms"),
    ("slowest_page_ms", "first page, of the slowest order and filter, ms", ""),
    ("watch_percent", "a client that watches stats once a second, % of a core", "1 %"),
    (
        "screen_percent",
        "one that also lists 50 by bytes each second, as a screen, % of a core",
        "1 %",
    ),
    ("page_percent", "the page in three windows, each in another order, % of a core", "1 %"),
    ("p99_ms", "echo beside operators that do not read, 99th percentile, ms", ""),
    ("slowdown_p99", "the same, compared with the server alone", "1"),
)
"""The figures, their titles and what is to be reached."""


def main() -> None:
    """Measure in rounds, and print the medians."""
    parser = argparse.ArgumentParser(prog="python -m bench.operators", description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--crowd", type=int, default=10_000)
    # Bytes are added up every ten seconds or so among ten thousand.
    parser.add_argument("--seconds", type=float, default=20.0)
    asked = parser.parse_args()
    cores, rounds = Cores.choose(), []
    for _ in range(asked.rounds):
        figures = measure_looking(asked.crowd, asked.seconds, cores)
        rounds.append(figures | measure_stalled(100, asked.seconds / 4, cores))
    print("| | median (least to greatest) | to be reached |\n|---|---|---|")
    for name, title, bound in ROWS:
        values = sorted(each[name] for each in rounds)
        spread = f"{statistics.median(values):.2f} ({values[0]:.2f} to {values[-1]:.2f})"
        print(f"| {title} | {spread} | {bound} |")


if __name__ == "__main__":
    main()
