"""What `manyhands serve` and `manyhands run` write for an operator: logs and metrics."""

import json
import os
import re
import signal
import socket
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.metrics.scraping import figures_at
from tests.support import (
    ENGINES,
    Program,
    ask,
    call,
    everything,
    python,
    wait_until,
)
from tests.support.programs import environment
from tests.support.waiting import PATIENCE

SERVE = ["-m", "manyhands", "serve", "handlers:Echo", "--bind", "tcp://127.0.0.1:0"]


@pytest.fixture
def serve(folder: Path) -> Iterator[Any]:
    started: list[Program] = []

    def start(*words: str) -> Program:
        started.append(Program([*SERVE, *words], folder))
        return started[-1]

    yield start
    for program in started:
        program.__exit__()


def address(line: str) -> tuple[str, int]:
    found = re.fullmatch(r"listening on tcp://(.+):(\d+)", line)
    assert found, line
    return found[1], int(found[2])


def stopped(program: Program) -> list[str]:
    """Stop it; return the lines of its standard error."""
    program.send(signal.SIGTERM)
    assert program.wait() == 0
    return program.errors().splitlines()


def test_each_connection_is_a_json_line(serve: Any, engine: str) -> None:
    program = serve("--engine", engine, "--log", "json", "--access-log")
    where = address(program.line())
    for _ in range(2):
        assert ask(where) == b"hello\n"
    lines = [json.loads(program.error_line()) for _ in range(2)]
    for line in lines:
        assert line["event"] == "ConnectionClosed"
        assert (line["reason"], line["bytes_in"], line["bytes_out"]) == ("peer_closed", 6, 6)
        assert line["peer"].startswith("127.0.0.1:")
    assert [json.loads(line) for line in stopped(program)] == []


def test_without_a_form_the_access_log_is_plain_lines(serve: Any, engine: str) -> None:
    program = serve("--engine", engine, "--access-log")
    assert ask(address(program.line())) == b"hello\n"
    line = program.error_line()
    assert re.match(r"manyhands: #1 127\.0\.0\.1:\d+ on 127\.0\.0\.1:\d+: peer_closed, 6 b", line)
    assert stopped(program) == []


def test_without_the_flags_nothing_is_written(serve: Any) -> None:
    program = serve()
    assert ask(address(program.line())) == b"hello\n"
    assert stopped(program) == []


@pytest.mark.parametrize("form", ["text", "json"])
def test_the_report_of_a_connection_cut_off_is_in_the_log_s_form(folder: Path, form: str) -> None:
    words = [*SERVE, "--log", form, "--drain-timeout", "0"]
    words[words.index("handlers:Echo")] = "handlers:Busy"
    with Program(words, folder) as program, call(address(program.line())) as peer:
        assert peer.recv(20)
        program.send(signal.SIGTERM)
        assert program.wait() == 1
        last = program.errors().splitlines()[-1]
    if form == "json":
        assert json.loads(last)["message"].startswith("cut off #1 127.0.0.1:")
    else:
        assert re.match(r"\S+Z warning manyhands: cut off #1 127\.0\.0\.1:", last)


@pytest.mark.parametrize(
    ("chosen", "words"),
    [
        ("sequential", []),
        ("threads", []),
        ("threads", ["--log", "json"]),
        ("fibers", []),
        ("fibers", ["--log", "json"]),
    ],
)
def test_a_standard_error_without_a_reader_holds_up_no_client(
    folder: Path, chosen: str, words: list[str]
) -> None:
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    while True:
        try:
            os.write(writer, b"x" * 4096)
        except BlockingIOError:
            break
    os.set_blocking(writer, True)
    command = [sys.executable, *SERVE, "--engine", chosen, "--access-log", *words]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=writer, text=True, cwd=folder, env=environment()
    ) as process:
        try:
            assert process.stdout is not None
            where = address(process.stdout.readline().rstrip("\n"))
            for _ in range(10):
                assert ask(where) == b"hello\n"
            process.send_signal(signal.SIGTERM)
            assert process.wait(PATIENCE) == 0
        finally:
            process.kill()
            os.close(reader)
            os.close(writer)


@pytest.mark.parametrize(
    ("engine", "host"), [*((engine, "127.0.0.1") for engine in ENGINES), ("threads", "[::1]")]
)
def test_metrics_are_scraped_where_the_command_says(serve: Any, engine: str, host: str) -> None:
    program = serve("--engine", engine, "--metrics", f"{host}:0")
    where = address(program.line())
    found = re.fullmatch(rf"metrics on (http://{re.escape(host)}:\d+/metrics)", program.line())
    assert found
    assert ask(where) == b"hello\n"
    closed = 'manyhands_connections_closed_total{reason="peer_closed"}'
    wait_until(lambda: figures_at(found[1])[closed] == 1)
    figures = figures_at(found[1])
    assert figures["manyhands_connections_accepted_total"] == 1
    assert figures["manyhands_received_bytes_total"] == 6
    assert figures["process_open_fds"] > 0
    assert ("manyhands_hub_delay_seconds" in figures) == (engine == "fibers")
    assert stopped(program) == []


def test_metrics_are_answered_while_handlers_are_busy_and_while_it_drains(
    folder: Path, engine: str
) -> None:
    words = [*SERVE, "--engine", engine, "--metrics", "127.0.0.1:0"]
    words[words.index("handlers:Echo")] = "handlers:Busy"
    with Program(words, folder) as program, call(address(program.line())) as peer:
        url = program.line().removeprefix("metrics on ")
        assert peer.recv(20)
        assert figures_at(url)[f'manyhands_engine_running{{engine="{engine}"}}'] == 1
        program.send(signal.SIGTERM)
        assert "waits up to 30 s" in program.error_line()
        assert figures_at(url)[f'manyhands_engine_running{{engine="{engine}"}}'] == 1
        peer.sendall(b"now\n")
        assert everything(peer) == b"finished now\n"
        assert program.wait() == 0


def status_of(url: str) -> tuple[int, bytes]:
    try:
        with urllib.request.urlopen(url, timeout=PATIENCE) as response:
            return response.status, response.read()
    except urllib.error.HTTPError as refusal:
        return refusal.code, refusal.read()


def test_health_is_answered_without_prometheus_client_until_the_drain_has_ended(
    folder: Path, engine: str
) -> None:
    (folder / "prometheus_client.py").write_text("raise ImportError('as if it were not there')\n")
    words = [*SERVE, "--engine", engine, "--health", "0"]
    words[words.index("handlers:Echo")] = "handlers:Busy"
    with Program(words, folder) as program, call(address(program.line())) as peer:
        found = re.fullmatch(r"health on (http://127\.0\.0\.1:\d+/)readyz", program.line())
        assert found
        assert peer.recv(20)
        assert status_of(f"{found[1]}readyz") == (200, b"ready\n")
        program.send(signal.SIGTERM)
        assert "waits up to 30 s" in program.error_line()
        assert status_of(f"{found[1]}readyz") == (503, b"drain\n")
        assert status_of(f"{found[1]}healthz") == (200, b"ok\n")
        peer.sendall(b"now\n")
        assert everything(peer) == b"finished now\n"
        assert program.wait() == 0


def test_health_is_beside_the_metrics_and_may_name_their_port(serve: Any) -> None:
    with socket.create_server(("127.0.0.1", 0)) as found:
        port = found.getsockname()[1]
    program = serve("--metrics", str(port), "--health", f"127.0.0.1:{port}")
    program.line()
    assert program.line() == f"metrics on http://127.0.0.1:{port}/metrics"
    wait_until(lambda: status_of(f"http://127.0.0.1:{port}/readyz") == (200, b"ready\n"))
    assert stopped(program) == []


@pytest.mark.parametrize(
    ("said", "host"), [("0", "127.0.0.1"), ("127.0.0.1:0", "127.0.0.1"), ("0.0.0.0:0", "0.0.0.0")]
)
def test_a_port_alone_is_one_that_only_this_machine_can_call(
    serve: Any, said: str, host: str
) -> None:
    program = serve("--metrics", said)
    program.line()
    assert program.line().startswith(f"metrics on http://{host}:")


def refused(folder: Path, *words: str) -> str:
    finished = python(*SERVE, *words, folder=folder)
    assert (finished.returncode, finished.stdout) == (2, "")
    assert finished.stderr.count("\n") == 1
    return finished.stderr


def test_a_port_that_is_taken_is_one_sentence(folder: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        said = refused(folder, "--metrics", f"127.0.0.1:{port}")
    assert f"cannot listen on 127.0.0.1:{port} (held by process" in said


@pytest.mark.parametrize("flag", ["--metrics", "--health"])
@pytest.mark.parametrize("where", ["nowhere", "udp://127.0.0.1:0", "127.0.0.1:99999"])
def test_an_address_that_does_not_fit_is_one_sentence(folder: Path, flag: str, where: str) -> None:
    assert where.removeprefix("udp://") in refused(folder, flag, where)


def test_a_form_that_does_not_exist_is_one_sentence(folder: Path) -> None:
    assert "--log" in refused(folder, "--log", "xml")


def test_metrics_without_prometheus_client_are_one_sentence(folder: Path) -> None:
    (folder / "prometheus_client.py").write_text("raise ImportError('as if it were not there')\n")
    finished = python(
        "-c",
        "import sys; sys.path.insert(0, '.'); from manyhands.cli import main; sys.exit(main())",
        *SERVE[2:],
        "--metrics",
        "127.0.0.1:0",
        folder=folder,
    )
    assert finished.returncode == 2
    assert finished.stderr == (
        "manyhands: manyhands.metrics needs prometheus-client, which is not here: "
        "pip install prometheus-client, or in a checkout of manyhands pip install '.[metrics]'\n"
    )


PROGRAM = """
import logging, socketserver, sys

class Echo(socketserver.StreamRequestHandler):
    def handle(self):
        for line in self.rfile:
            self.wfile.write(line)

logging.basicConfig(level=logging.DEBUG, stream=sys.stdout)
with getattr(socketserver, sys.argv[1])(("127.0.0.1", 0), Echo) as server:
    print("listening on tcp://127.0.0.1:%d" % server.server_address[1], flush=True)
    server.handle_request()
"""


@pytest.mark.parametrize("kind", ["TCPServer", "ThreadingTCPServer", "ForkingTCPServer"])
@pytest.mark.parametrize("words", [["--log", "json", "--access-log"], ["--access-log"]])
def test_a_program_that_is_not_changed_has_the_log_too(
    tmp_path: Path, kind: str, words: list[str]
) -> None:
    (tmp_path / "server.py").write_text(PROGRAM)
    with Program(["-m", "manyhands", "run", *words, "server.py", kind], tmp_path) as program:
        assert ask(address(program.line())) == b"hello\n"
        assert program.wait() == 0
        [line] = program.errors().splitlines()
        assert program.lines_left() == []  # nor does the program's own log repeat it
    if "json" in words:
        assert json.loads(line)["bytes_in"] == 6
    else:
        assert re.match(r"\S+Z info ConnectionClosed: #1 127\.0\.0\.1:", line)
