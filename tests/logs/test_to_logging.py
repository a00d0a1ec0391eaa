"""Events in the standard library's `logging`: levels, loggers, formatters, and what is never in them."""

import json
import logging
import socket
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from manyhands import Server, StreamRequestHandler, events, logs
from manyhands.testing import ask, call, everything, socket_address, wait_until
from tests.support import Authority, Echo
from tests.support.waiting import PATIENCE

ANY_PORT = "tcp://127.0.0.1:0"

pytestmark = pytest.mark.filterwarnings("ignore:.*fork")

FULL = events.EngineFull("127.0.0.1:8008", "threads", 3)
FAILED = events.WorkerFailed("threads", ("127.0.0.1", 40000), "can't start new thread")
RELOADED = events.CertificateReloaded("site.pem")


class Kept(logging.Handler):
    """Keeps records."""

    def __init__(self) -> None:
        super().__init__()
        self.records: list[logging.LogRecord] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.records.append(record)


@pytest.fixture
def kept() -> Iterator[Kept]:
    handler, logger = Kept(), logging.getLogger("manyhands")
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    yield handler
    logger.removeHandler(handler)
    logger.setLevel(logging.NOTSET)


@pytest.mark.parametrize("queued", [True, False])
def test_an_event_is_a_record_of_its_own_level(kept: Kept, queued: bool) -> None:
    end = logs.to_logging(queued=queued)
    for event in (FULL, FAILED, RELOADED):
        events.hub.emit(event)
    end()
    events.hub.emit(FULL)
    assert [(r.name, r.levelname, r.getMessage(), r.event) for r in kept.records] == [
        ("manyhands", "WARNING", str(FULL), FULL),
        ("manyhands", "ERROR", str(FAILED), FAILED),
        ("manyhands", "INFO", str(RELOADED), RELOADED),
    ]
    assert {record.threadName for record in kept.records} == {threading.current_thread().name}


def test_a_level_that_the_logger_does_not_want_costs_no_record(kept: Kept) -> None:
    logging.getLogger("manyhands").setLevel(logging.ERROR)
    end = logs.to_logging()
    events.hub.emit(FULL)
    events.hub.emit(FAILED)
    end()
    assert [record.event for record in kept.records] == [FAILED]


def test_a_handler_that_blocks_stops_no_server(kept: Kept, engine: str) -> None:
    is_blocked, may_go_on = threading.Event(), threading.Event()

    def block(record: logging.LogRecord) -> bool:
        is_blocked.set()
        return may_go_on.wait(PATIENCE)

    kept.addFilter(block)
    end = logs.to_logging(access=True, limit=3)
    try:
        with Server(Echo, ANY_PORT, engine=engine) as server:
            address = socket_address(server.addresses[0])
            assert ask(address) == b"hello\n"
            assert is_blocked.wait(PATIENCE)
            for _ in range(10):
                assert ask(address) == b"hello\n"
            wait_until(lambda: server.connections.balance == (11, 0, 11))
    finally:
        may_go_on.set()
        end()
    # One was in the handler, three waited, and of the others a record tells.
    assert len(kept.records) == 5
    [dropped] = [r.event for r in kept.records if isinstance(r.event, events.EventsDropped)]
    assert dropped.count >= 7


def test_a_handler_that_raises_stops_no_server(
    kept: Kept, engine: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    reported: list[Any] = []
    monkeypatch.setattr(sys, "excepthook", lambda kind, error, traceback: reported.append(error))

    def broken(record: logging.LogRecord) -> bool:
        raise ZeroDivisionError

    kept.addFilter(broken)
    end = logs.to_logging(access=True)
    with Server(Echo, ANY_PORT, engine=engine) as server:
        for _ in range(3):
            assert ask(socket_address(server.addresses[0])) == b"hello\n"
        wait_until(lambda: server.connections.balance == (3, 0, 3))
    end()
    assert len(reported) >= 3
    assert {type(error) for error in reported} == {ZeroDivisionError}


def test_each_connection_that_ends_is_in_the_access_log(kept: Kept, engine: str) -> None:
    end = logs.to_logging(access=True)
    with Server(Echo, ANY_PORT, engine=engine) as server:
        address = socket_address(server.addresses[0])
        for _ in range(3):
            assert ask(address) == b"hello\n"
        wait_until(lambda: server.connections.balance == (3, 0, 3))
    end()
    ended = [record.event for record in kept.records if record.name == "manyhands.access"]
    assert len({event.number for event in ended}) == len(ended) == 3
    for event in ended:
        assert event.listener == f"127.0.0.1:{address[1]}"
        assert event.peer[0] == "127.0.0.1"
        assert (event.reason, event.bytes_in, event.bytes_out) == ("peer_closed", 6, 6)
        assert 0 <= event.age < PATIENCE


def test_without_an_access_log_no_end_is_logged(kept: Kept) -> None:
    end = logs.to_logging()
    with Server(Echo, ANY_PORT) as server:
        assert ask(socket_address(server.addresses[0])) == b"hello\n"
        wait_until(lambda: server.connections.balance == (1, 0, 1))
    end()
    assert kept.records == []


def test_what_happens_in_a_forked_handler_is_written_too(
    authority: Authority, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    certfile, keyfile = authority.write(tmp_path, "localhost")
    end = logs.to_stderr("json", access=True)
    address = "tls://127.0.0.1:0"
    with Server(Echo, address, engine="processes", certfile=certfile, keyfile=keyfile) as server:
        with call(socket_address(server.addresses[0])) as peer:
            peer.sendall(b"this is no handshake of TLS, certainly\r\n\r\n")
            everything(peer)
        wait_until(lambda: server.connections.balance == (1, 0, 1))
    end()
    lines = [json.loads(line) for line in capfd.readouterr().err.splitlines()]
    # The one is told of by the handler's process, and the other by the server's.
    told = {line["event"]: line for line in lines if line["event"] != "ForkedWithThreads"}
    assert set(told) == {"HandshakeFailed", "ConnectionClosed"}
    assert told["ConnectionClosed"]["reason"] == "handshake_failed"


SECRET = "correct horse battery staple"


class Careless(StreamRequestHandler):
    """Fails with what it was sent, in its message and in its variables."""

    def handle(self) -> None:
        password = self.rfile.readline().decode()
        self.wfile.write(password.encode())
        raise ValueError(password)


@pytest.mark.parametrize("form", [logs.TextLines, logs.JSONLines])
def test_nothing_that_was_said_is_in_the_log(
    kept: Kept, engine: str, form: type[logging.Formatter], capfd: pytest.CaptureFixture[str]
) -> None:
    end = logs.to_logging(access=True)
    with Server(Careless, ANY_PORT, engine=engine) as server:
        said = SECRET.encode() + b"\n"
        assert ask(socket_address(server.addresses[0]), said) == said
        wait_until(lambda: server.connections.balance == (1, 0, 1))
    end()
    written = "\n".join(map(form().format, kept.records))
    assert "handler_failed" in written
    assert SECRET not in written
    assert (
        SECRET in capfd.readouterr().err
    )  # where `handle_error` writes, as in the standard library


def record_of_the_program() -> logging.LogRecord:
    try:
        _ = 1 / 0
    except ZeroDivisionError:
        exc_info = sys.exc_info()
    return logging.getLogger("shop").makeRecord(
        "shop", logging.ERROR, "", 0, "sold %s\nout", ("tea",), exc_info
    )


def test_records_of_the_program_are_json_lines_too() -> None:
    line = logs.JSONLines().format(record_of_the_program())
    assert line.isprintable()
    document = json.loads(line)
    assert (document["level"], document["logger"]) == ("error", "shop")
    assert document["message"] == "sold tea\nout"
    assert document["traceback"].splitlines()[-1] == "ZeroDivisionError: division by zero"


def test_records_of_the_program_are_lines_of_text_with_their_traceback() -> None:
    first, *others = logs.TextLines().format(record_of_the_program()).splitlines()
    assert first.endswith(r"Z error shop: sold tea\nout")
    assert others[-1] == "ZeroDivisionError: division by zero"


@pytest.mark.parametrize("form", [logs.TextLines, logs.JSONLines])
def test_a_path_that_a_client_chose_is_escaped(
    kept: Kept, form: type[logging.Formatter], tmp_path: Path
) -> None:
    end = logs.to_logging(access=True)
    with (
        Server(Echo, f"unix://{tmp_path}/echo.sock") as server,
        socket.socket(socket.AF_UNIX) as peer,
    ):
        peer.bind(f"{tmp_path}/\x1b[2J\nforged")
        peer.connect(f"{tmp_path}/echo.sock")
        peer.close()
        wait_until(lambda: server.connections.balance == (1, 0, 1))
    end()
    [record] = kept.records
    assert "forged" in form().format(record)
    assert form().format(record).isprintable()
