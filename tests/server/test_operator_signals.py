"""SIGUSR1 and SIGQUIT ask for stacks, SIGUSR2 means nothing, SIGALRM stops; a late SIGTERM harms nothing."""

import json
import re
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import pytest

from tests.support import ENGINES, Program, call, everything, read_line
from tests.support.programs import environment

PROGRAM = """
    import os, signal, sys, warnings
    warnings.simplefilter("ignore")
    from manyhands import Server, StreamRequestHandler, events

    class Handler(StreamRequestHandler):
        def handle(self):
            line = self.rfile.readline().strip().decode()
            if line == "exec":
                self.wfile.write(b"begun\\n")
                os.dup2(self.request.fileno(), 1)
                os.execvp("sh", ["sh", "-c", "sleep 0.5; echo finished"])
            if line == "miss":
                signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGURG})
                self.wfile.write(b"begun\\n")
                signal.sigwait({signal.SIGURG})
                signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGURG})
                self.wfile.write(b"finished " + self.rfile.readline())
                return
            self.wait_for_the_client()

        def wait_for_the_client(self):
            self.wfile.write(b"begun\\n")
            self.wfile.write(b"finished " + self.rfile.readline())

    if sys.argv[2:] == ["silent"]:
        pass
    else:
        events.hub.subscribe(lambda event: os.write(1, f"{type(event).__name__} {event}\\n".encode()))
    server = Server(Handler, "tcp://127.0.0.1:0", engine=sys.argv[1], drain_timeout=20)
    server.run(lambda: print(server.addresses[0].port, flush=True))
    print("ended", flush=True)
"""


def program(engine: str, *arguments: str) -> Program:
    lines = "\n".join(line.removeprefix("    ") for line in PROGRAM.splitlines())
    return Program(["-c", lines, engine, *arguments])


def until(running: Program, text: str) -> list[str]:
    """Return the lines up to one with a text."""
    lines = [running.line()]
    while text not in lines[-1]:
        lines.append(running.line())
    return lines


@pytest.mark.parametrize("number", [signal.SIGUSR1, signal.SIGQUIT])
@pytest.mark.parametrize("engine", ENGINES)
def test_every_handler_s_stack_is_told_and_goes_on(engine: str, number: signal.Signals) -> None:
    count = 1 if engine == "sequential" else 3
    with program(engine) as running:
        address = "127.0.0.1", int(running.line())
        peers = [call(address) for _ in range(count)]
        for peer in peers:
            peer.sendall(b"wait\n")
            assert read_line(peer) == b"begun\n"
        running.send(number)
        handlers = "1 handler" if count == 1 else f"{count} handlers"
        said = f"{number.name} came, which asks for the stacks of {handlers}"
        assert until(running, "StacksFollow")[-1] == f"StacksFollow {said}"
        for _ in peers:
            assert until(running, "HandlerStack")[-1].endswith(": Handler")
            assert until(running, "in wait_for_the_client")[0].endswith("in handle")
        for peer in peers:
            peer.sendall(b"it\n")
            assert read_line(peer) == b"finished it\n"
            peer.close()
        running.send(signal.SIGTERM)
        assert until(running, "ended")
        assert running.wait() == 0


def test_a_process_that_did_not_notice_the_question_is_asked_again_and_tells_once() -> None:
    """Python learns of a signal just before a wait, but calls its handler after that."""
    with program("processes") as running:
        address = "127.0.0.1", int(running.line())
        peers = [call(address) for _ in range(2)]
        for peer in peers:
            peer.sendall(b"miss\n")
            assert read_line(peer) == b"begun\n"
        told = []
        for _ in range(2):
            running.send(signal.SIGUSR1)
            told += until(running, "StacksFollow")
            told += until(running, "HandlerStack") + until(running, "HandlerStack")
        for peer in peers:
            peer.sendall(b"it\n")
            assert everything(peer) == b"finished it\n"
        running.send(signal.SIGTERM)
        told += until(running, "ended")
        of = [line.split()[1] for line in told if line.startswith("HandlerStack")]
        assert sorted(of) == ["#1", "#1", "#2", "#2"]
        assert running.wait() == 0


ASKS_WHILE_IT_TELLS = """
    import os, signal, threading
    from manyhands import Server, StreamRequestHandler, events

    class Handler(StreamRequestHandler):
        def handle(self):
            self.wfile.write(b"begun\\n")
            self.rfile.readline()

    told = []

    def tell(event):
        if isinstance(event, events.HandlerStack):
            told.append(event)
            if len(told) == 1:
                os.kill(os.getpid(), signal.SIGUSR1)
                asked.wait()
            print("told", flush=True)

    asked = threading.Event()
    signal.signal(signal.SIGUSR2, lambda *_: asked.set())
    events.hub.subscribe(tell)
    server = Server(Handler, "tcp://127.0.0.1:0", engine="threads")
    server.run(lambda: print(server.addresses[0].port, flush=True))
"""


def test_what_asks_in_the_last_moment_of_an_answer_is_answered_too() -> None:
    lines = "\n".join(line.removeprefix("    ") for line in ASKS_WHILE_IT_TELLS.splitlines())
    with Program(["-c", lines]) as running:
        peer = call(("127.0.0.1", int(running.line())))
        assert read_line(peer) == b"begun\n"
        running.send(signal.SIGUSR1)
        # The handler of that which it sends itself has run when that of the next one has.
        running.send(signal.SIGUSR2)
        assert [running.line() for _ in range(2)] == ["told", "told"]


@pytest.mark.parametrize("engine", ENGINES)
def test_sigusr2_means_nothing_and_sigalrm_stops(engine: str) -> None:
    with program(engine) as running, call(("127.0.0.1", int(running.line()))) as peer:
        peer.sendall(b"wait\n")
        assert read_line(peer) == b"begun\n"
        if engine != "sequential":  # whose accept loop is in the handler
            running.send(signal.SIGUSR2)
            assert until(running, "SignalIgnored")[-1].endswith(
                "SIGUSR2 came, which means nothing here"
            )
        running.send(signal.SIGALRM)
        peer.sendall(b"it\n")
        # Of what comes after the drain has begun the handler may get nothing.
        assert everything(peer) in {b"finished it\n", b"finished "}
        assert until(running, "ended")
        assert running.wait() == 0


@pytest.mark.parametrize("engine", ["threads", "processes"])
def test_without_a_subscriber_stacks_go_to_standard_error(engine: str) -> None:
    with program(engine, "silent") as running, call(("127.0.0.1", int(running.line()))) as peer:
        peer.sendall(b"wait\n")
        assert read_line(peer) == b"begun\n"
        running.send(signal.SIGUSR1)
        assert "asks for the stacks of 1 handler" in running.error_line()
        assert running.error_line().startswith("manyhands: #1 127.0.0.1:")
        assert "in handle" in running.error_line()


def test_a_handler_that_became_another_program_is_not_killed_by_the_question() -> None:
    with program("processes") as running, call(("127.0.0.1", int(running.line()))) as peer:
        peer.sendall(b"exec\n")
        assert read_line(peer) == b"begun\n"
        for _ in range(10):
            running.send(signal.SIGUSR1)
            until(running, "StacksFollow")
        assert read_line(peer) == b"finished\n"


def test_signals_that_the_program_handles_are_left_alone() -> None:
    text = """
import os, signal, sys
from manyhands import Server
told = []
signal.signal(signal.SIGUSR1, lambda *_: told.append("the program's own"))
signal.signal(signal.SIGQUIT, signal.SIG_IGN)
server = Server(lambda *_: None, "tcp://127.0.0.1:0")
def announce():
    for number in (signal.SIGUSR1, signal.SIGQUIT, signal.SIGTERM):
        os.kill(os.getpid(), number)
server.run(announce)
print(told, [signal.getsignal(each) is signal.SIG_DFL for each in (signal.SIGUSR2, signal.SIGALRM)])
"""
    with Program(["-c", text]) as running:
        assert running.line() == '["the program\'s own"] [True, True]'
        assert running.wait() == 0


def test_a_forked_handler_s_alarm_is_its_own() -> None:
    text = """
import os, signal, time
from manyhands import Server
def handler(request, client_address, server):
    if request.recv(1) == b"d":
        signal.signal(signal.SIGALRM, lambda *_: request.sendall(b"alarmed"))
    signal.setitimer(signal.ITIMER_REAL, 0.01)
    request.recv(1)
server = Server(handler, "tcp://127.0.0.1:0", engine="processes")
server.run(lambda: print(server.addresses[0].port, flush=True))
"""
    with Program(["-c", text]) as running:
        address = "127.0.0.1", int(running.line())
        with call(address) as peer:
            peer.sendall(b"k")
            assert peer.recv(10) == b""  # killed, as it is without a server
        with call(address) as peer:
            peer.sendall(b"d")
            assert peer.recv(10) == b"alarmed"


HANDLERS = """
import time
def slow(request, client_address, server):
    request.sendall(b"begun")
    request.recv(1)
"""


ANY = (signal.SIGINT, signal.SIGHUP, signal.SIGALRM, signal.SIGUSR1, signal.SIGUSR2)


def storm(arguments: list[str], folder: Path, ready: str, number: signal.Signals) -> int:
    """Tell a program that is ready to stop, and send it a signal again and again until it is gone."""
    process = subprocess.Popen(
        [sys.executable, *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        stdin=subprocess.DEVNULL,
        text=True,
        cwd=folder,
        env=environment(),
    )
    assert process.stdout is not None
    while ready not in process.stdout.readline():
        assert process.poll() is None
    process.terminate()
    deadline = time.monotonic() + 20
    while process.poll() is None and time.monotonic() < deadline:
        process.send_signal(number)
        time.sleep(0.0005)
    process.stdout.close()
    return process.wait(20)


@pytest.mark.parametrize(
    ("engine", "number"),
    [
        *((engine, number) for engine in ENGINES for number in (signal.SIGTERM, signal.SIGQUIT)),
        *(("threads", number) for number in ANY),
    ],
)
def test_serve_ends_with_0_whatever_it_is_told_while_it_ends(
    engine: str, number: signal.Signals, tmp_path: Path
) -> None:
    (tmp_path / "handlers.py").write_text(HANDLERS, encoding="utf-8")
    serve = ["-m", "manyhands", "serve", "handlers:slow", "--bind", "tcp://127.0.0.1:0"]
    assert storm([*serve, "--engine", engine], tmp_path, "listening on", number) == 0


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT])
def test_a_desk_ends_with_0_whatever_it_is_told_while_it_ends(
    number: signal.Signals, tmp_path: Path
) -> None:
    chat = ["-m", "manyhands", "chat", "--bind", "tcp://127.0.0.1:0", "--transcript"]
    assert storm([*chat, str(tmp_path / "transcript")], tmp_path, "or  ", number) == 0


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGALRM])
def test_a_program_ends_with_0_when_another_signal_comes_at_its_interpreter_s_end(
    number: signal.Signals, tmp_path: Path
) -> None:
    text = """if True:
    import atexit, os, signal, time
    from manyhands import Server
    for each in (signal.SIGTERM, signal.SIGALRM, signal.SIGQUIT, signal.SIGUSR1):
        atexit.register(os.kill, os.getpid(), each)
    server = Server(lambda *_: None, "tcp://127.0.0.1:0")
    server.run(lambda: print("ready", flush=True))
    """
    with Program(["-c", text], tmp_path) as running:
        assert running.line() == "ready"
        running.send(number)
        assert running.wait() == 0


def test_serve_writes_stacks_to_its_log(tmp_path: Path) -> None:
    (tmp_path / "handlers.py").write_text(HANDLERS, encoding="utf-8")
    serve = ["-m", "manyhands", "serve", "handlers:slow", "--bind", "tcp://127.0.0.1:0"]
    with Program([*serve, "--log", "json"], folder=tmp_path) as running:
        port = int(re.findall(r":(\d+)", running.line())[0])
        with call(("127.0.0.1", port)) as peer:
            assert peer.recv(10) == b"begun"
            running.send(signal.SIGQUIT)
            told = [json.loads(running.error_line()) for _ in range(2)]
    assert [each["event"] for each in told] == ["StacksFollow", "HandlerStack"]
    assert told[1]["handler"] == "slow"
    assert "request.recv(1)" in told[1]["stack"]


def test_a_signal_with_a_handler_of_c_code_is_left_alone_and_harms_nothing_afterwards() -> None:
    """Of `faulthandler.register` Python itself knows nothing (`signal.getsignal`)."""
    finished = subprocess.run(
        [
            sys.executable,
            "-c",
            textwrap.dedent(
                """
                import faulthandler, os, signal
                from manyhands import Server, StreamRequestHandler, events

                faulthandler.register(signal.SIGUSR1, all_threads=False)
                events.hub.subscribe(print, events.StacksFollow)
                server = Server(StreamRequestHandler, "tcp://127.0.0.1:0")

                def ask():
                    os.kill(os.getpid(), signal.SIGUSR1)
                    server.stop()

                server.run(ask)
                os.kill(os.getpid(), signal.SIGUSR1)
                """
            ),
        ],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        env=environment(),
    )
    assert finished.returncode == 0
    assert finished.stderr.count("most recent call first") == 2
    assert not finished.stdout
