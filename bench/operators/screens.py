"""The tools that people look at a server with, as they are: `manyhands top` in a terminal, and the page."""

import contextlib
import fcntl
import http.client
import json
import os
import re
import select
import subprocess
import sys
import termios
import threading
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from struct import pack
from typing import NamedTuple

import manyhands
from bench.attended import LOOK, START, meanwhile
from bench.contestants import place_of
from bench.processes import Cores, MeasurementError, Server, on_cores

ROWS, COLUMNS = 50, 160
"""Of a large terminal: it shows as many connections as the page does."""

MANYHANDS = [sys.executable, "-m", "manyhands"]


@contextlib.contextmanager
def top(server: Server, cores: Cores) -> Iterator[None]:
    """Have a person look at a server with `manyhands top`, in the order of the bytes received.

    Raises
    ------
    MeasurementError
        When it shows no connections, or ends.
    """
    terminal, screen = os.openpty()
    fcntl.ioctl(screen, termios.TIOCSWINSZ, pack("HHHH", ROWS, COLUMNS, 0, 0))
    command = [*MANYHANDS, "top", "--control", place_of(server.pid), "--sort=-in"]
    with on_cores(cores.load):
        process = subprocess.Popen(
            command,
            stdin=screen,
            stdout=screen,
            stderr=screen,
            start_new_session=True,
            env={**os.environ, "TERM": "xterm-256color"},
        )
    os.close(screen)

    def read(is_under_way: threading.Event, is_over: threading.Event) -> None:
        while not is_over.is_set():
            # EIO: it has ended, and with it all that had the terminal open (pty(7)).
            if select.select([terminal], [], [], LOOK)[0] and b"127.0.0." in os.read(
                terminal, 65536
            ):
                is_under_way.set()

    try:
        with on_cores(cores.load), meanwhile(read):
            yield
    finally:
        process.kill()
        process.wait()
        os.close(terminal)


class PageAt(NamedTuple):
    """Where a page is, and what a browser has to know."""

    port: int
    token: str

    @property
    def headers(self) -> dict[str, str]:
        """What a browser says of itself."""
        return {"Authorization": f"Bearer {self.token}"}

    def connection(self) -> http.client.HTTPConnection:
        """Return a connection to it, which is made when it is first used."""
        return http.client.HTTPConnection("127.0.0.1", self.port, timeout=START)


@contextlib.contextmanager
def page_of(server: Server, cores: Cores) -> Iterator[PageAt]:
    """Have `manyhands web` show a server.

    Raises
    ------
    MeasurementError
        When it does not say where.
    """
    command = [*MANYHANDS, "web", "--control", place_of(server.pid), "--bind", "tcp://127.0.0.1:0"]
    with on_cores(cores.load):
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stdin=subprocess.DEVNULL)
    try:
        yield _place_of(process)
    finally:
        process.kill()
        process.communicate()


def _place_of(process: subprocess.Popen[bytes]) -> PageAt:
    assert process.stdout
    deadline, said = time.monotonic() + START, b""
    while (left := deadline - time.monotonic()) > 0:
        if select.select([process.stdout], [], [], left)[0]:
            piece = os.read(process.stdout.fileno(), 65536)
            said += piece
            found = re.search(rb"open http://127\.0\.0\.1:(\d+)/#t=(\S+)", said)
            if found:
                return PageAt(int(found[1]), found[2].decode())
            if not piece:
                break
    raise MeasurementError(f"manyhands web does not say where it is: {said[-300:]!r}")


def number_in_page(name: str) -> float:
    """Return a constant of the page's own program, which says when it looks."""
    program = Path(manyhands.__file__).parent / "web" / "static" / "connections.js"
    found = re.search(rf"^const {name} = ([\d_]+);$", program.read_text(), re.MULTILINE)
    if found is None:
        raise MeasurementError(
            f"{program} has no constant {name} any more: the window looks as it did"
        )
    return float(found[1])


@contextlib.contextmanager
def window(page: PageAt, order: str, cores: Cores, *, has_stream: bool) -> Iterator[None]:
    """Have a browser's window show a page, and read its stream: one does for all windows of a browser.

    Parameters
    ----------
    page
        The page.
    order
        That of the table's rows, as `connections.list` has it.
    cores
        The server's, and that of all others.
    has_stream
        Whether it is the one that reads the stream.

    Raises
    ------
    MeasurementError
        When the page does not answer as it does to a browser.
    """
    with on_cores(cores.load), contextlib.ExitStack() as stack:
        stack.enter_context(meanwhile(partial(_look, page, order)))
        if has_stream:
            stack.enter_context(meanwhile(partial(_read, page)))
        yield


def _look(
    page: PageAt, order: str, is_under_way: threading.Event, is_over: threading.Event
) -> None:
    """Look at the table again and again, as `connections.js` does."""
    pause = number_in_page("PAUSE") / 1000
    with contextlib.closing(page.connection()) as connection:
        while not is_over.is_set():
            _look_once(connection, page.headers, order)
            is_under_way.set()
            is_over.wait(pause)


def _look_once(connection: http.client.HTTPConnection, headers: dict[str, str], order: str) -> None:
    params = {"where": {}, "sort": order, "limit": 50}
    call = {"jsonrpc": "2.0", "id": 1, "method": "connections.list", "params": params}
    as_json = {**headers, "Content-Type": "application/json"}
    connection.request("POST", "/calls", json.dumps(call), as_json)
    response = connection.getresponse()
    said = response.read()
    if response.status != http.HTTPStatus.OK or b'"peer"' not in said:
        raise MeasurementError(f"the page lists no connections: {said[:300]!r}")


def _read(page: PageAt, is_under_way: threading.Event, is_over: threading.Event) -> None:
    """Read what the page tells by itself."""
    with contextlib.closing(page.connection()) as connection:
        connection.request("GET", "/events", headers=page.headers)
        stream = connection.getresponse()
        if stream.status != http.HTTPStatus.OK:
            raise MeasurementError(f"the page has no stream: {stream.status} {stream.reason}")
        while not is_over.is_set():
            if not stream.read1(65536):
                raise MeasurementError("the page has ended its stream")
            is_under_way.set()
