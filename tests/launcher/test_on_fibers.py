"""`manyhands run --engine fibers`: an unmodified program of threads is one of fibers."""

import os
import resource
import signal
import socket
import venv
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from manyhands.launcher.environment import OPTIONS_VARIABLE
from tests.support import Program, ask, call, everything, wait_until

from .launch import RUN, environment, python, write

ON_FIBERS = (*RUN, "--engine", "fibers")

SERVER = """
import os, signal, socketserver, sys, threading, time

seen = threading.local()

class Handler(socketserver.StreamRequestHandler):
    def handle(self):
        for line in self.rfile:
            self.wfile.write(self.answer(line.decode().strip()).encode() + b"\\n")

    def answer(self, word):
        return getattr(self, word, lambda: word)()

    def name(self):
        return threading.current_thread().name

    def count(self):
        seen.count = getattr(seen, "count", 0) + 1
        return str(seen.count)

    def socket(self):
        return type(self.request).__name__

    def sleep(self):
        time.sleep(60)
        return "slept"

    def interrupt(self):
        os.kill(os.getpid(), signal.SIGINT)
        return "never said"

    def terminate(self):
        os.kill(os.getpid(), signal.SIGTERM)
        return "never said"

    def leave(self):
        sys.exit(5)

    def stop(self):
        self.server.shutdown()
        return "stopped"

    def compute(self):
        began = time.monotonic()
        while time.monotonic() - began < 0.5:
            pass
        return "computed"

    def fork(self):
        pid = os.fork()
        if pid == 0:
            time.sleep(0.1)
            os._exit(7)
        return str(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))

    def careless(self):
        pid = os.fork()
        if pid == 0:
            sys.exit(5)
        Handler.status = os.waitpid(pid, 0)[1]
        return "reaped"

    def ended(self):
        return str(getattr(Handler, "status", None))

def main(kind):
    with getattr(socketserver, kind)(("127.0.0.1", 0), Handler) as server:
        server.daemon_threads = True
        print(server.server_address[1], flush=True)
        {serve}
    print("over", flush=True)

if __name__ == "__main__":
    {before}
    main(sys.argv[1])
"""

KINDS = ["TCPServer", "ThreadingTCPServer", "ForkingTCPServer"]


class Serving:
    """A program on fibers that serves."""

    def __init__(self, program: Program) -> None:
        self.program = program
        self.address = ("127.0.0.1", int(program.line()))

    def says(self, word: str) -> str:
        return ask(self.address, f"{word}\n".encode()).decode().strip()

    def conversation(self) -> socket.socket:
        """Call, and wait until a handler is there."""
        peer = call(self.address)
        assert tell(peer, "hello") == "hello"
        return peer


def tell(peer: socket.socket, word: str) -> str:
    peer.sendall(f"{word}\n".encode())
    return peer.recv(100).decode().strip()


@pytest.fixture
def serve(tmp_path: Path) -> Iterator[Any]:
    started: list[Program] = []

    def start(
        kind: str = "ThreadingTCPServer",
        *options: str,
        serve: str = "server.serve_forever()",
        before: str = "pass",
    ) -> Serving:
        source = SERVER.replace("{serve}", serve).replace("{before}", before)
        write(tmp_path / "server.py", source)
        started.append(Program([*ON_FIBERS, *options, "server.py", kind], tmp_path))
        return Serving(started[-1])

    yield start
    for program in started:
        program.__exit__()


@pytest.mark.parametrize("kind", KINDS)
def test_each_client_has_a_fiber_whatever_the_class(serve: Any, kind: str) -> None:
    serving = serve(kind)
    with serving.conversation() as waiting:
        waiting.sendall(b"sleep\n")
        assert serving.says("socket") == "FiberSocket"


def test_each_connection_has_a_thread_name_and_thread_locals_of_its_own(serve: Any) -> None:
    serving = serve()
    with serving.conversation() as one, serving.conversation() as other:
        assert tell(one, "name") == tell(one, "name") != tell(other, "name")
        assert [tell(one, "count"), tell(one, "count"), tell(other, "count")] == ["1", "2", "1"]
    assert serving.says("count") == "1"


@pytest.mark.parametrize("kind", KINDS)
def test_ctrl_c_reaches_the_program_while_handlers_wait(serve: Any, kind: str) -> None:
    serving = serve(kind)
    with serving.conversation():
        serving.program.send(signal.SIGINT)
        assert serving.program.wait() == -signal.SIGINT
    assert "KeyboardInterrupt" in serving.program.errors()


@pytest.mark.parametrize("thread", [False, True])
def test_ctrl_c_reaches_the_program_s_main_code_while_a_handler_runs(
    serve: Any, thread: bool
) -> None:
    in_a_thread = (
        "threading.Thread(target=server.serve_forever, daemon=True).start(); time.sleep(60)"
    )
    serving = serve(serve=in_a_thread) if thread else serve()
    with serving.conversation() as peer:
        peer.sendall(b"interrupt\n")
        assert serving.program.wait() == -signal.SIGINT


def test_a_signal_handler_that_exits_ends_the_program_while_a_handler_runs(serve: Any) -> None:
    serving = serve(before="signal.signal(signal.SIGTERM, lambda *_: sys.exit(4))")
    with serving.conversation() as peer:
        peer.sendall(b"terminate\n")
        assert serving.program.wait() == 4


def test_a_handler_that_exits_ends_its_own_conversation_only(serve: Any) -> None:
    serving = serve(before="signal.signal(signal.SIGTERM, lambda *_: sys.exit(4))")
    assert serving.says("leave") == ""
    assert serving.says("hello") == "hello"


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGUSR1])
def test_a_signal_handler_can_stop_the_server(serve: Any, number: signal.Signals) -> None:
    serving = serve(
        before=f"signal.signal({int(number)}, lambda *_: SERVER.shutdown())",
        serve="globals().update(SERVER=server); server.serve_forever()",
    )
    assert serving.says("hello") == "hello"
    serving.program.send(number)
    assert serving.program.line() == "over"
    assert serving.program.wait() == 0


def test_a_handler_can_stop_the_server(serve: Any) -> None:
    serving = serve()
    with serving.conversation() as peer:
        assert tell(peer, "stop") == "stopped"
    assert serving.program.line() == "over"


def test_a_copy_that_a_handler_forks_has_no_fiber_but_its_own(serve: Any, tmp_path: Path) -> None:
    # Else what sleeps in the original wakes up in the copy too, and answers its client twice.
    record = tmp_path / "woken"
    ticking = (
        f"t = threading.Thread(target=lambda: [(time.sleep(0.01), open({str(record)!r}, 'a')"
        ".write(f'{os.getpid()}\\n')) for _ in range(10**6)], daemon=True); t.start()"
    )
    serving = serve(before=ticking)
    wait_until(record.exists)
    assert serving.says("fork") == "7"
    assert set(record.read_text().split()) == {str(serving.program.pid)}


def test_a_copy_that_leaves_its_handler_ends_there(serve: Any) -> None:
    serving = serve()
    with serving.conversation() as peer:
        peer.sendall(b"careless\n")
        everything(peer)  # until the copy, or the original, has hung up
    wait_until(lambda: serving.says("ended") == "0")
    assert serving.program.is_running()


def test_a_handler_that_holds_up_all_others_is_named_once(serve: Any) -> None:
    serving = serve()
    assert serving.says("compute") == "computed"
    assert serving.says("compute") == "computed"
    serving.program.send(signal.SIGINT)
    serving.program.wait()
    errors = serving.program.errors()
    assert errors.count("manyhands: Handler for ") == 1
    assert "in compute" in errors


def test_thousands_of_idle_clients_take_a_handful_of_threads(serve: Any) -> None:
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    serving = serve()
    idle = [call(serving.address) for _ in range(2000)]
    try:
        assert serving.says("hello") == "hello"
        assert len(list(Path(f"/proc/{serving.program.pid}/task").iterdir())) < 8
        assert tell(idle[0], "hello") == tell(idle[-1], "hello") == "hello"
    finally:
        for peer in idle:
            peer.close()


PATCHED = "import socket; print(socket.socket.__module__)"


def test_a_program_that_serves_nothing_is_patched_before_it_is_loaded(tmp_path: Path) -> None:
    write(tmp_path / "which.py", PATCHED)
    assert python(*ON_FIBERS, "which.py", cwd=tmp_path).output == "gevent._socket3\n"


@pytest.mark.parametrize("options", [[], ["--engine", "threads"]])
def test_only_the_fiber_engine_patches(tmp_path: Path, options: list[str]) -> None:
    write(tmp_path / "which.py", PATCHED)
    assert python(*RUN, *options, "which.py", cwd=tmp_path).output == "socket\n"


MULTIPROCESSING = """
import multiprocessing, os, threading, time
from concurrent.futures import ProcessPoolExecutor

def twice(number):
    import socket
    return 2 * number, socket.socket.__module__

def ask(method):
    context = multiprocessing.get_context(method)
    with context.Pool(2) as pool:
        print(sorted(pool.map(twice, range(3))), pool.apply(len, (b"x" * 300_000,)), flush=True)

if __name__ == "__main__":
    # In a thread, as a handler would, while another one ticks.
    ticks = []
    ticking = threading.Thread(target=lambda: [(time.sleep(0.01), ticks.append(1)) for _ in range(10**6)])
    ticking.daemon = True
    ticking.start()
    for method in ("fork", "spawn"):
        asking = threading.Thread(target=ask, args=(method,))
        asking.start()
        asking.join()
    with ProcessPoolExecutor(1) as executor:
        print(executor.submit(os.getppid).result() == os.getpid())
    with multiprocessing.Manager() as manager:
        shared = manager.dict(a=1)
        print(dict(shared))
    print(len(ticks) > 3)
"""


def test_the_processes_of_multiprocessing_work_and_are_waited_for_while_others_run(
    tmp_path: Path,
) -> None:
    write(tmp_path / "pools.py", MULTIPROCESSING)
    ours = python(*ON_FIBERS, "pools.py", cwd=tmp_path)
    doubled = [(2 * number, "gevent._socket3") for number in range(3)]
    assert ours.output.splitlines() == [f"{doubled} 300000"] * 2 + ["True", "{'a': 1}", "True"], (
        ours.errors
    )


def test_the_processes_of_subprocess_work(tmp_path: Path) -> None:
    write(
        tmp_path / "parent.py",
        "import subprocess, sys\n"
        f"print(subprocess.check_output([sys.executable, '-c', {PATCHED!r}], text=True), end='')\n",
    )
    assert python(*ON_FIBERS, "parent.py", cwd=tmp_path).output == "gevent._socket3\n"


@pytest.fixture(scope="module")
def without_gevent(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("virtual")
    venv.create(folder, symlinks=True)
    return folder / "bin" / "python"


@pytest.mark.parametrize(
    "command", [["run", "file.py"], ["serve", "file:Handler", "--bind", "tcp://127.0.0.1:0"]]
)
def test_without_gevent_nothing_starts(
    tmp_path: Path, without_gevent: Path, command: list[str]
) -> None:
    write(tmp_path / "file.py", "print('ran')")
    words = ["-m", "manyhands", command[0], "--engine", "fibers", *command[1:]]
    ours = python(*words, cwd=tmp_path, interpreter=without_gevent)
    assert (ours.status, ours.output) == (2, "")
    assert ours.errors == (
        f"manyhands: manyhands {command[0]} --engine fibers needs gevent, which is not here: "
        "pip install 'manyhands[fibers]'\n"
    )


def test_a_child_of_an_installation_without_gevent_says_so_and_serves_as_its_classes_say(
    tmp_path: Path, without_gevent: Path
) -> None:
    write(
        tmp_path / "child.py",
        "import socket, socketserver\n"
        "print(socket.socket.__module__, getattr(socketserver.BaseServer, 'engine', None))\n",
    )
    write(
        tmp_path / "parent.py",
        f"import subprocess; subprocess.run([{str(without_gevent)!r}, 'child.py'], check=True)\n",
    )
    ours = python(*ON_FIBERS, "parent.py", cwd=tmp_path)
    assert ours.output == "socket None\n"
    assert ours.errors == (
        f"manyhands: {without_gevent} has no gevent, so this process serves as its classes say, "
        "not on fibers\n"
    )


def test_a_child_of_such_an_installation_that_serves_nothing_says_nothing(
    tmp_path: Path, without_gevent: Path
) -> None:
    write(tmp_path / "child.py", PATCHED)
    env = {**environment(), OPTIONS_VARIABLE: '{"engine": "fibers"}'}
    ours = python("child.py", cwd=tmp_path, env=env, interpreter=without_gevent)
    assert (ours.output, ours.errors) == ("socket\n", "")


def test_a_program_that_patches_itself_and_takes_our_classes_by_import_is_served(
    tmp_path: Path,
) -> None:
    write(
        tmp_path / "server.py",
        "from gevent import monkey; monkey.patch_all()\n"
        "import threading, time\n"
        "from manyhands import FiberTCPServer\n"
        "def handler(request, address, server):\n"
        "    time.sleep(0.1)\n"
        "    request.sendall(threading.current_thread().name.encode())\n"
        "    server.shutdown()\n"
        "with FiberTCPServer(('127.0.0.1', 0), handler) as server:\n"
        "    print(server.server_address[1], flush=True)\n"
        "    server.serve_forever()\n"
        "print('over', flush=True)\n",
    )
    with Program(["server.py"], tmp_path) as program:
        with call(("127.0.0.1", int(program.line()))) as peer:
            assert everything(peer) != b""
        assert program.line() == "over"
        assert program.wait() == 0


def test_a_program_that_pauses_until_a_signal_lets_its_server_serve(serve: Any) -> None:
    serving = serve(
        before="signal.signal(signal.SIGUSR1, lambda *_: None)",
        serve="threading.Thread(target=server.serve_forever).start(); signal.pause(); server.shutdown()",
    )
    assert serving.says("hello") == "hello"
    serving.program.send(signal.SIGUSR1)
    assert serving.program.line() == "over"
    assert serving.program.wait() == 0


def test_a_program_that_waits_for_any_child_lets_its_server_serve(serve: Any) -> None:
    serving = serve(
        serve="threading.Thread(target=server.serve_forever).start(); "
        "child = os.fork() or (signal.pause(), os._exit(7)); print(child, flush=True); "
        "assert os.wait() == (child, 7 << 8); server.shutdown()",
        before="signal.signal(signal.SIGUSR1, lambda *_: None)",
    )
    child = int(serving.program.line())
    assert serving.says("hello") == "hello"
    # Again and again, because the child may not pause yet.
    wait_until(lambda: is_gone_after_a_nudge(child))
    assert serving.program.line() == "over"
    assert serving.program.wait() == 0


def is_gone_after_a_nudge(pid: int) -> bool:
    try:
        os.kill(pid, signal.SIGUSR1)
    except ProcessLookupError:
        return True
    return False


def test_a_class_of_the_program_may_choose_processes(serve: Any) -> None:
    serving = serve("ForkingTCPServer", before="socketserver.ForkingTCPServer.engine = 'processes'")
    with serving.conversation() as waiting:
        waiting.sendall(b"sleep\n")
        assert serving.says("socket") == "socket"
        serving.program.send_to_group(signal.SIGINT)
        assert serving.program.wait() == -signal.SIGINT


def test_without_descriptors_the_backlog_is_refused_at_once(tmp_path: Path) -> None:
    # The patched os.close gives a descriptor back at the next turn of the loop only.
    write(
        tmp_path / "refuse.py",
        "import contextlib, os, resource, socket, time\n"
        "from manyhands.servers.reserve import Reserve\n"
        "time.sleep(0.01)  # there is a loop now\n"
        "with socket.create_server(('127.0.0.1', 0)) as listener, Reserve() as reserve:\n"
        "    with socket.create_connection(listener.getsockname()):\n"
        "        _, most = resource.getrlimit(resource.RLIMIT_NOFILE)\n"
        "        resource.setrlimit(resource.RLIMIT_NOFILE, (64, most))\n"
        "        with contextlib.suppress(OSError):\n"
        "            while True: os.dup(0)\n"
        "        print(reserve.refuse_backlog(listener))\n",
    )
    ours = python(*ON_FIBERS, "refuse.py", cwd=tmp_path)
    assert ours.output == "1\n", ours.errors
