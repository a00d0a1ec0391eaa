"""Kinds of programs that tutorials show, unchanged, under `manyhands run --workers`."""

import os
import signal
import socket
from pathlib import Path

import pytest

from tests.supervisor.kit import Caller
from tests.supervisor.run_command import HANDLER, OURS, Running, running, started
from tests.support.waiting import wait_until

TAIL = """
    print(server.server_address[1], flush=True)
    server.serve_forever()
print("over", flush=True)
"""

PLAIN = (
    HANDLER
    + """
with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Pid) as server:
"""
    + TAIL
)

IN_A_THREAD = (
    HANDLER
    + """
with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Pid) as server:
    print(server.server_address[1], flush=True)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        while True:
            time.sleep(1)
    finally:
        print("over", flush=True)
"""
)

WITH_A_HANDLER_OF_SIGTERM = (
    HANDLER
    + """
stop = threading.Event()
signal.signal(signal.SIGTERM, lambda *_: stop.set())
server = socketserver.ThreadingTCPServer(("127.0.0.1", 0), Pid)
print(server.server_address[1], flush=True)
thread = threading.Thread(target=server.serve_forever)
thread.start()
stop.wait()
server.shutdown()
thread.join()
print("over", flush=True)
"""
)

BOUND_BY_A_HOOK = (
    HANDLER
    + """
class Server(socketserver.ThreadingTCPServer):
    def server_bind(self):
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self.socket.bind(self.server_address)
        self.server_address = self.socket.getsockname()

with Server(("127.0.0.1", 0), Pid) as server:
"""
    + TAIL
)

IN_TWO_THREADS = (
    HANDLER
    + """
servers = [socketserver.ThreadingTCPServer(("127.0.0.1", 0), Pid) for _ in range(2)]
print(servers[0].server_address[1], servers[1].server_address[1], flush=True)
threading.Thread(target=servers[1].serve_forever).start()
servers[0].serve_forever()
print("over", flush=True)
"""
)


def serves_by_two(run: Running) -> bool:
    return len({run.asked() for _ in range(2)}) == 2


def is_reloaded_and_ends(run: Running) -> None:
    """Have other workers serve, and then none, each of which comes to the program's own end."""
    before = {each["pid"] for each in run.workers()}
    run.client.request("reload", timeout=60)
    assert run.asked() not in before
    run.program.send(signal.SIGTERM)
    assert run.program.wait() == 0
    # Of two generations with two workers each.
    said = run.program.lines_left()
    assert said.count("over") == 4, run.program.errors()
    assert "Traceback" not in run.program.errors()


@pytest.mark.parametrize("text", [PLAIN, IN_A_THREAD, WITH_A_HANDLER_OF_SIGTERM, BOUND_BY_A_HOOK])
def test_each_dies_is_reloaded_and_ends_as_it_should(tmp_path: Path, text: str) -> None:
    with running(tmp_path, text) as run:
        wait_until(lambda: serves_by_two(run))
        os.kill(victim := run.asked(), signal.SIGKILL)
        wait_until(lambda: all(run.asked() != victim for _ in range(2)))
        wait_until(lambda: [each["state"] for each in run.workers()] == ["serving"] * 2)
        is_reloaded_and_ends(run)


SERVES_IN_ITS_OWN_WAY = PLAIN.replace(
    "with socketserver.ThreadingTCPServer",
    """
class Server(socketserver.ThreadingTCPServer):
    def serve_forever(self, poll_interval=0.5):
        super().serve_forever(poll_interval)

with Server""",
)

BY_ONE_NAME = "import manyhands as socketserver"

INSTALLED = "import manyhands; manyhands.install(); import socketserver"


@pytest.mark.parametrize(
    ("text", "imported"),
    [
        (PLAIN, OURS),
        (IN_A_THREAD, BY_ONE_NAME),
        (BOUND_BY_A_HOOK, OURS),
        (SERVES_IN_ITS_OWN_WAY, BY_ONE_NAME),
        (PLAIN, INSTALLED),
    ],
)
def test_one_that_uses_our_classes_by_our_names_has_workers_too(
    tmp_path: Path, text: str, imported: str
) -> None:
    with running(tmp_path, text.replace("import socketserver", imported)) as run:
        wait_until(lambda: serves_by_two(run))
        is_reloaded_and_ends(run)


BESIDE_A_SERVER = PLAIN.replace(
    "with socketserver",
    """
import manyhands
beside = manyhands.Server(Pid, "tcp://127.0.0.1:0")
beside.start()
with socketserver""",
).replace('print("over"', 'beside.close()\nprint("over"')


def test_a_server_without_workers_may_be_started_beside(tmp_path: Path) -> None:
    with running(tmp_path, BESIDE_A_SERVER) as run:
        wait_until(lambda: serves_by_two(run))
        run.program.send(signal.SIGTERM)
        assert run.program.wait() == 0
        assert "control" not in run.program.errors()


ENDS_SLOWLY = IN_A_THREAD.replace(
    'print("over", flush=True)',
    """print(os.getpid(), flush=True)
        while not os.path.exists("may end"):
            time.sleep(0.01)
        print("over", flush=True)""",
)


def test_a_signal_that_comes_again_while_the_program_ends_does_no_harm(tmp_path: Path) -> None:
    with running(tmp_path, ENDS_SLOWLY) as run:
        wait_until(lambda: serves_by_two(run))
        ending = {each["pid"] for each in run.workers()}
        run.program.send(signal.SIGTERM)
        while ending:
            said = int(run.program.line())
            if said in ending:
                os.kill(said, signal.SIGTERM)
            ending.discard(said)
        (tmp_path / "may end").touch()
        assert run.program.wait() == 0
        assert run.program.lines_left() == ["over", "over"]
        assert "Traceback" not in run.program.errors()


def test_several_servers_are_served_by_all_workers(tmp_path: Path) -> None:
    with started(tmp_path, IN_TWO_THREADS) as program:
        ports = list(map(int, program.line().split()))
        for port in ports:
            wait_until(lambda port=port: len({asked(port), asked(port)}) == 2)
        program.send(signal.SIGTERM)
        assert program.wait() == 0
        assert program.lines_left().count("over") == 2


SLOW_TO_SERVE = (
    """
import threading
import time
from manyhands.workers.link import Link

def tell_ready(link, about):
    def on_drain(seconds):
        drain(seconds)
        drains.set()

    drain, link.on_drain = link.on_drain, on_drain
    tell(link, about)
    print("ready", flush=True)
    drains.wait()
    time.sleep(0.3)

tell, Link.tell_ready = Link.tell_ready, tell_ready
drains = threading.Event()
"""
    + PLAIN
)
"""Comes to its loop when the worker drains already."""


def test_a_drain_before_the_loop_lets_the_program_come_to_its_end(tmp_path: Path) -> None:
    with started(tmp_path, SLOW_TO_SERVE) as program:
        program.line()
        assert [program.line(), program.line()] == ["ready", "ready"]
        program.send(signal.SIGTERM)
        assert program.wait() == 0
        assert program.lines_left() == ["over", "over"]


def asked(port: int) -> int:
    with Caller(("127.0.0.1", port)) as caller:
        return caller.ask()


ON_A_PATH = (
    HANDLER
    + """
PATH = "echo.sock"
if os.path.exists(PATH):
    os.unlink(PATH)
try:
    with socketserver.ThreadingUnixStreamServer(PATH, Pid) as server:
        print("listens", flush=True)
        server.serve_forever()
finally:
    os.unlink(PATH)
    print("over", flush=True)
"""
)


def test_the_file_of_a_unix_socket_is_there_as_long_as_it_is_served(tmp_path: Path) -> None:
    path = tmp_path / "echo.sock"

    def asked() -> int:
        with Caller(str(path), socket.AF_UNIX) as caller:
            return caller.ask()

    with started(tmp_path, ON_A_PATH) as program:
        assert program.line() == "listens"
        before = {asked(), asked()}
        program.send(signal.SIGHUP)
        assert program.line() == "listens"
        # The old program removes it before the new one binds, and at its end: so does each worker.
        assert [program.line(), program.line()] == ["over", "over"]
        assert not before & {asked(), asked()}
        program.send(signal.SIGTERM)
        assert program.wait() == 0
        assert not path.exists()
        assert "Traceback" not in program.errors()


def test_options_of_its_socket_hold(tmp_path: Path) -> None:
    text = PLAIN.replace(
        'with socketserver.ThreadingTCPServer(("127.0.0.1", 0)',
        """
class Server(socketserver.ThreadingTCPServer):
    address_family = socket.AF_INET6
    def server_bind(self):
        self.socket.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        super().server_bind()

with Server(("::", 0)""",
    )
    with running(tmp_path, text) as run:
        # Of IPv6 alone, it would refuse that.
        assert run.asked()


ENDS = (
    HANDLER
    + """
class Ends(Pid):
    def handle(self):
        for line in self.rfile:
            self.wfile.write(b"%d %s" % (os.getpid(), line))
            if line == b"stop\\n":
                threading.Thread(target=self.server.shutdown).start()
            if line == b"fail\\n":
                os.kill(os.getpid(), signal.SIGALRM)

def fail(*_):
    raise RuntimeError("failed")

signal.signal(signal.SIGALRM, fail)
with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Ends) as server:
    server.daemon_threads = True
"""
    + TAIL
)


def test_a_program_that_ends_by_itself_ends_the_service(tmp_path: Path) -> None:
    with running(tmp_path, ENDS) as run:
        with run.call() as caller:
            caller.ask(b"stop")
            assert caller.end() == b""
        assert run.program.wait() == 0


def test_one_that_ends_by_an_exception_is_replaced(tmp_path: Path) -> None:
    with running(tmp_path, ENDS) as run:
        failed = run.asked()

        def is_replaced() -> bool:
            with run.call() as caller:
                is_another = caller.ask() != failed
                if not is_another:
                    # Again: what comes while the loop begins a connection is taken for a failure of a hook's.
                    caller.socket.sendall(b"fail\n")
            return is_another

        wait_until(lambda: all(is_replaced() for _ in range(2)))
        wait_until(lambda: len(run.workers()) == 2)


@pytest.mark.parametrize("text", [PLAIN, IN_A_THREAD])
def test_sigterm_to_one_worker_drains_it_and_others_serve(tmp_path: Path, text: str) -> None:
    with running(tmp_path, text) as run, run.call() as caller:
        pid = caller.ask()
        os.kill(pid, signal.SIGTERM)
        assert caller.end() == b""
        wait_until(lambda: all(run.asked() != pid for _ in range(2)))
        wait_until(lambda: pid not in [each["pid"] for each in run.workers()])
        assert run.status()["servers"][0]["closed"].get("worker_died") is None
