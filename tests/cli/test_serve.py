"""`manyhands serve`, as people and init systems use it: a process, its output, its signals."""

import os
import re
import signal
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support import (
    Authority,
    Program,
    ask,
    ask_secretly,
    call,
    everything,
    is_closed_by_server,
    is_listening,
    reset,
    wait_until,
)

ENGINES = ["threads", "processes", "fibers"]


class Serving:
    """A `manyhands serve` that runs."""

    def __init__(self, folder: Path, *words: str, addresses: int = 1) -> None:
        self.program = Program(["-m", "manyhands", "serve", *words], folder)
        self.lines = [self.program.line() for _ in range(addresses)]

    def address(self, number: int = 0) -> Any:
        found = re.fullmatch(r"listening on [a-z-]+://(.+)", self.lines[number])
        assert found, self.lines
        host, colon, port = found[1].rpartition(":")
        return (host.strip("[]"), int(port)) if colon else found[1]


@pytest.fixture
def serve(folder: Path) -> Iterator[Any]:
    started: list[Program] = []

    def start(*words: str, addresses: int = 1) -> Serving:
        serving = Serving(folder, *words, addresses=addresses)
        started.append(serving.program)
        return serving

    yield start
    for program in started:
        program.__exit__()


STOPPING = "manyhands: stopping: waits up to "


def ended(serving: Serving) -> tuple[int, str]:
    """Return the exit status and the errors on standard error.

    That it waits for a conversation is none: a busy machine notices late that its client has gone.
    """
    status = serving.program.wait()
    lines = serving.program.errors().splitlines(keepends=True)
    return status, "".join(line for line in lines if not line.startswith(STOPPING))


def busy(serving: Serving) -> tuple[socket.socket, int]:
    """Call, and wait until the handler is at work; return the line and the handler's process."""
    peer = call(serving.address())
    return peer, int(peer.recv(20))


def is_gone(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    return False


@pytest.mark.parametrize("engine", ["sequential", *ENGINES])
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_tcp_is_served_until_a_signal(serve: Any, engine: str, number: signal.Signals) -> None:
    serving = serve("handlers:Echo", "--bind", "tcp://127.0.0.1:0", "--engine", engine)
    host, port = serving.address()
    assert host == "127.0.0.1"
    assert port > 0
    assert ask((host, port)) == b"hello\n"
    serving.program.send(number)
    assert ended(serving) == (0, "")
    assert serving.program.lines_left() == []


def test_limits_are_flags_and_refusals_are_reported(serve: Any) -> None:
    words = ("--max-connections", "1", "--when-full", "refuse", "--refusal", "later")
    serving = serve("handlers:Busy", "--bind", "tcp://127.0.0.1:0", *words)
    with call(serving.address()) as peer:
        assert peer.recv(1)
        with call(serving.address()) as refused:
            assert everything(refused) == b"later"
        peer.sendall(b"now\n")
        everything(peer)
    serving.program.send(signal.SIGTERM)
    status, errors = ended(serving)
    assert status == 0
    assert re.search(
        r"refused 1 connection from 127.0.0.1:\d+: the server had max_connections \(or",
        errors,
    )


@pytest.mark.parametrize("engine", ["sequential", *ENGINES])
def test_a_signal_that_comes_as_soon_as_it_says_that_it_listens_ends_it_gracefully(
    serve: Any, folder: Path, engine: str
) -> None:
    # No supervisor is quicker than a program that signals itself when it has said so.
    with (folder / "handlers.py").open("a", encoding="utf-8") as module:
        module.write(
            "\nimport signal"
            "\nsays = os.write"
            "\ndef write(descriptor, data):"
            "\n    written = says(descriptor, data)"
            "\n    if data.startswith(b'listening'): os.kill(os.getpid(), signal.SIGTERM)"
            "\n    return written"
            "\nos.write = write"
        )
    serving = serve("handlers:Echo", "--bind", "tcp://127.0.0.1:0", "--engine", engine)
    assert ended(serving) == (0, "")


@pytest.mark.parametrize("engine", ["sequential", *ENGINES])
def test_clients_that_reset_before_they_are_accepted_end_no_service(
    serve: Any, folder: Path, authority: Authority, engine: str
) -> None:
    certfile, keyfile = map(str, authority.write(folder, "localhost"))
    files = ["--certfile", certfile, "--keyfile", keyfile]
    serving = serve("handlers:Echo", "--bind", "tls://127.0.0.1:0", "--engine", engine, *files)
    # They wait in the backlog, and are gone when their turn comes.
    serving.program.send(signal.SIGSTOP)
    for _ in range(5):
        reset(call(serving.address()))
    serving.program.send(signal.SIGCONT)
    assert ask_secretly(serving.address(), authority) == b"hello\n"
    serving.program.send(signal.SIGTERM)
    status, errors = ended(serving)
    assert status == 0
    assert "HandshakeFailed, 4 times more" in errors
    assert "Traceback" not in errors


def test_udp_is_served(serve: Any) -> None:
    serving = serve("handlers:Shout", "--bind", "udp://127.0.0.1:0")
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as peer:
        peer.settimeout(20)
        peer.sendto(b"hello", serving.address())
        assert peer.recv(10) == b"HELLO"


def test_a_unix_path_is_served_and_removed(serve: Any, folder: Path) -> None:
    serving = serve("handlers:Echo", "--bind", "unix://echo.sock")
    assert serving.address() == "echo.sock"
    assert ask(str(folder / "echo.sock")) == b"hello\n"
    serving.program.send(signal.SIGTERM)
    assert ended(serving) == (0, "")
    assert not (folder / "echo.sock").exists()


def test_a_path_that_is_no_text_is_served_and_shown_as_far_as_it_goes(
    serve: Any, folder: Path
) -> None:
    serving = serve("handlers:Echo", "--bind", os.fsdecode(b"unix://a\xff.sock"))
    assert serving.lines == ["listening on unix://a\\udcff.sock"]
    assert ask(os.fsencode(folder) + b"/a\xff.sock") == b"hello\n"


def test_unix_datagrams_are_served(serve: Any, folder: Path) -> None:
    serve("handlers:Shout", "--bind", f"unix-datagram://{folder}/log.sock")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as peer:
        peer.settimeout(20)
        peer.bind(str(folder / "peer.sock"))
        peer.sendto(b"hello", str(folder / "log.sock"))
        assert peer.recv(10) == b"HELLO"


def test_ipv6_is_served(serve: Any) -> None:
    serving = serve("handlers:Echo", "--bind", "tcp://[::1]:0")
    assert serving.address()[0] == "::1"
    assert ask(serving.address()) == b"hello\n"


@pytest.mark.parametrize("address", [":0", "0", "tcp://*:0", "tcp://[::]:0"])
def test_every_interface_and_both_ip_versions_are_served(serve: Any, address: str) -> None:
    port = serve("handlers:Echo", "--bind", address).address()[1]
    assert ask(("127.0.0.1", port)) == b"hello\n"
    assert ask(("::1", port)) == b"hello\n"


def test_several_addresses_are_served(serve: Any, folder: Path) -> None:
    bind = ["--bind", "tcp://127.0.0.1:0", "--bind", "unix://a.sock", "--bind", "tcp://[::1]:0"]
    serving = serve("handlers:Echo", *bind, addresses=3)
    assert ask(serving.address(0)) == b"hello\n"
    assert ask(str(folder / "a.sock")) == b"hello\n"
    assert ask(serving.address(2)) == b"hello\n"


@pytest.mark.parametrize(
    "reference",
    [
        "handlers:Echo",
        "handlers.py:Echo",
        "./handlers.py:Echo",
        "./handlers:Echo",
        "handlers:Nested.Echo",
        "plain:Echo",
    ],
)
def test_a_handler_is_found_as_people_write_it(serve: Any, reference: str) -> None:
    serving = serve(reference, "--bind", "tcp://127.0.0.1:0")
    assert ask(serving.address()) == b"hello\n"


def test_a_function_is_served(serve: Any) -> None:
    serving = serve("handlers:function", "--bind", "tcp://127.0.0.1:0")
    with call(serving.address()) as peer:
        assert everything(peer) == b"by a function"


def test_options_reach_the_server(serve: Any) -> None:
    serving = serve("handlers:Busy", "--bind", "tcp://127.0.0.1:0", "--max-threads", "1")
    first, _ = busy(serving)
    with call(serving.address()) as second:
        second.settimeout(0.3)
        with pytest.raises(TimeoutError):
            second.recv(1)
        first.sendall(b"\n")
        second.settimeout(20)
        assert second.recv(20)
    first.close()
    serving.program.send(signal.SIGTERM)
    _, errors = ended(serving)
    assert "serves 1 clients, all that its threads engine may" in errors


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("way", ["SIGTERM", "SIGINT", "Ctrl-C", "systemd"])
def test_a_busy_handler_may_finish(serve: Any, engine: str, way: str) -> None:
    serving = serve("handlers:Busy", "--bind", "tcp://127.0.0.1:0", "--engine", engine)
    peer, _ = busy(serving)
    with peer:
        if way == "Ctrl-C":  # the terminal sends it to the whole process group
            serving.program.send_to_group(signal.SIGINT)
        elif way == "systemd":  # and systemd SIGTERM to the whole control group
            serving.program.send_to_group(signal.SIGTERM)
        else:
            serving.program.send(signal.Signals[way])
        assert serving.program.error_line() == (
            "manyhands: stopping: waits up to 30 s for 1 conversation to come to an end; "
            "a second signal ends it at once"
        )
        assert not is_listening(serving.address()[1])
        assert serving.program.is_running()
        peer.sendall(b"in time\n")
        assert everything(peer) == b"finished in time\n"
    assert ended(serving) == (0, "")


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("handler", ["Busy", "Stubborn"])
def test_a_connection_that_outlasts_the_drain_is_cut_off_and_reported(
    serve: Any, engine: str, handler: str
) -> None:
    serving = serve(
        f"handlers:{handler}", "--bind", "tcp://127.0.0.1:0", "--engine", engine,
        "--drain-timeout", "0.2",
    )  # fmt: skip
    peer, pid = busy(serving)
    with peer:
        serving.program.send(signal.SIGTERM)
        status, errors = ended(serving)
        port = peer.getsockname()[1]
        assert is_closed_by_server(peer)
    assert status == 1
    # Before it may stand what the handler raised when its connection was cut.
    report = errors.splitlines()[-1]
    doing = (
        rf"{handler}, in process {pid}"
        if engine == "processes"
        else rf"{handler}\.handle, handlers\.py:\d+"
    )
    assert re.fullmatch(
        rf"manyhands: cut off #1 127\.0\.0\.1:{port}, \d+\.\d s old: {doing}", report
    )
    assert is_gone(pid)


@pytest.mark.parametrize("engine", ["sequential", *ENGINES])
def test_a_client_that_is_idle_does_not_hold_up_the_end(serve: Any, engine: str) -> None:
    serving = serve("handlers:Echo", "--bind", "tcp://127.0.0.1:0", "--engine", engine)
    with call(serving.address()) as peer:
        peer.sendall(b"hello\n")
        assert peer.recv(10) == b"hello\n"
        serving.program.send(signal.SIGTERM)
        assert is_closed_by_server(peer)
        assert ended(serving) == (0, "")


@pytest.mark.parametrize("engine", ["sequential", *ENGINES])
@pytest.mark.parametrize("handler", ["Busy", "Stubborn"])
def test_a_second_signal_ends_it_at_once(serve: Any, engine: str, handler: str) -> None:
    serving = serve(
        f"handlers:{handler}", "--bind", "tcp://127.0.0.1:0", "--engine", engine,
        "--drain-timeout", "3600",
    )  # fmt: skip
    peer, pid = busy(serving)
    with peer:
        serving.program.send(signal.SIGTERM)
        wait_until(lambda: not is_listening(serving.address()[1]))
        serving.program.send(signal.SIGINT)
        status, errors = ended(serving)
    assert status == 1
    assert errors.splitlines()[-1].startswith("manyhands: cut off #1 127.0.0.1:")
    assert is_gone(pid)


def test_a_handler_that_raises_is_reported_and_the_service_goes_on(serve: Any) -> None:
    serving = serve("handlers:Busy", "--bind", "tcp://127.0.0.1:0")
    peer, _ = busy(serving)
    reset(peer)
    again, _ = busy(serving)
    again.close()
    serving.program.send(signal.SIGTERM)
    assert ended(serving)[0] == 0


def test_a_stale_path_is_taken_over(serve: Any, folder: Path) -> None:
    serve("handlers:Echo", "--bind", "unix://a.sock").program.kill()
    assert (folder / "a.sock").is_socket()
    serve("handlers:Echo", "--bind", "unix://a.sock")
    assert ask(str(folder / "a.sock")) == b"hello\n"


def test_a_loop_that_fails_is_no_silent_end(serve: Any, folder: Path) -> None:
    # What handle_error raises ends a loop; nothing of the command's own may swallow it.
    with (folder / "handlers.py").open("a", encoding="utf-8") as module:
        module.write(
            "\ndef fatal(request, client_address, server):\n"
            "    server.service_actions = lambda: 1 / 0\n"
            "    server.handle_error = lambda *_: exec('raise')\n"
        )
    serving = serve("handlers:fatal", "--bind", "tcp://127.0.0.1:0")
    with call(serving.address()) as peer:
        assert is_closed_by_server(peer)
        status, errors = ended(serving)
    assert status == 1
    assert "ZeroDivisionError" in errors


def test_on_fibers_a_handler_that_sleeps_holds_up_no_other(serve: Any) -> None:
    serving = serve("plain:Stubborn", "--bind", "tcp://127.0.0.1:0", "--engine", "fibers")
    sleeping, _ = busy(serving)
    another, _ = busy(serving)
    sleeping.close()
    another.close()


def test_on_fibers_a_handler_that_computes_is_named(serve: Any, folder: Path) -> None:
    with (folder / "handlers.py").open("a", encoding="utf-8") as module:
        module.write(
            "\nclass Computes(StreamRequestHandler):"
            "\n    def handle(self):"
            "\n        began = time.monotonic()"
            "\n        while time.monotonic() - began < 0.5: pass"
        )
    serving = serve("handlers:Computes", "--bind", "tcp://127.0.0.1:0", "--engine", "fibers")
    with call(serving.address()) as peer:
        assert is_closed_by_server(peer)
    assert serving.program.error_line().startswith("manyhands: Computes for 127.0.0.1:")


def test_fibers_serve_datagrams_on_several_addresses(serve: Any, folder: Path) -> None:
    addresses = ["udp://127.0.0.1:0", "unix-datagram://a.sock"]
    binds = [word for address in addresses for word in ("--bind", address)]
    serving = serve("handlers:Shout", *binds, "--engine", "fibers", addresses=2)
    with (
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as over_udp,
        socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as over_a_path,
    ):
        over_a_path.bind(str(folder / "own.sock"))
        for peer, address in (
            (over_udp, serving.address()),
            (over_a_path, str(folder / "a.sock")),
        ):
            peer.settimeout(20)
            peer.sendto(b"hello", address)
            assert peer.recv(10) == b"HELLO"
    serving.program.send(signal.SIGTERM)
    assert ended(serving) == (0, "")
