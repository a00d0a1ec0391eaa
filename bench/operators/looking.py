"""How long operators wait for a page, and what a server with a crowd spends on those that look at it."""

import contextlib
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from bench.attended import operator, watcher
from bench.operators import CONTROLLED
from bench.operators.screens import page_of, top, window
from bench.processes import Cores, Server, crowd, on_cores, serving
from manyhands.control.client import Client

PAGES = 15
"""Times that each page is asked for."""

LISTS: tuple[dict[str, Any], ...] = (
    {},
    {"sort": "-in"},
    {"sort": "peer", "where": {"peer": "127.0.0."}},
    {"sort": "-silent", "where": {"state": "open", "idle_over": 0}},
)
"""What the first page is asked for by: its order, and a filter."""

WINDOWS = ("-in", "id", "-silent")
"""Of the page, side by side on one screen (those that are hidden do not look): the order of each."""

SETTLING = 3.0
"""Seconds in which a process that looks on starts, which is not what it costs."""


def measure(size: int, seconds: float, cores: Cores) -> dict[str, float]:
    """Measure on a server with an idle crowd what its operators wait for, and what they cost.

    Parameters
    ----------
    size
        Connections of the crowd.
    seconds
        How long each is looked on by.
    cores
        The server's, and that of all others.
    """
    with serving(CONTROLLED, "echo", cores) as server, crowd(size, server, cores):
        with on_cores(cores.load), operator(server) as client:
            figures = first_pages(client)
            idle = share(server, seconds)
            with watcher(server, "stats"):
                figures["watch_percent"] = 100 * (share(server, seconds) - idle)
                listed = share(server, seconds, lambda: client.call("connections.list", **SCREEN))
                figures["screen_percent"] = 100 * (listed - idle)
        with top(server, cores):
            figures["top_percent"] = 100 * (settled_share(server, seconds) - idle)
        with page_of(server, cores) as page, contextlib.ExitStack() as windows:
            # They share one stream, which the first reads.
            windows.enter_context(window(page, WINDOWS[0], cores, has_stream=True))
            figures["page_percent"] = 100 * (settled_share(server, seconds) - idle)
            for order in WINDOWS[1:]:
                windows.enter_context(window(page, order, cores, has_stream=False))
            figures["windows_percent"] = 100 * (settled_share(server, seconds) - idle)
    return figures


SCREEN = {"sort": "-in", "limit": 50}
"""A page as a screen shows it, in the order that is dearest to find."""


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


def cpu_seconds(server: Server) -> float:
    """Return the processor time that a server's threads have had; those of now, to the nanosecond."""
    # sched(5) counts in ticks elsewhere, and a percent of a core is one in a second.
    times = Path(f"/proc/{server.pid}/task").glob("*/schedstat")
    return sum(int(each.read_text().split()[0]) for each in times) / 1e9


def settled_share(server: Server, seconds: float) -> float:
    """Return the share of a core that a server takes once those that look on have started."""
    time.sleep(min(SETTLING, seconds))
    return share(server, seconds)


def share(server: Server, seconds: float, once: Callable[[], object] | None = None) -> float:
    """Return the share of a core that a server takes; `once` is done each second meanwhile."""
    before, began = cpu_seconds(server), time.monotonic()
    for _ in range(max(1, round(seconds))):
        if once is not None:
            once()
        time.sleep(min(1.0, seconds))
    return (cpu_seconds(server) - before) / (time.monotonic() - began)
