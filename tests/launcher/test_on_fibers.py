"""`manyhands run --engine fibers`: an unmodified program of threads is one of fibers."""

import resource
import signal
import socket
from pathlib import Path
from typing import Any

import pytest

from tests.support import call

from .launch import python, write
from .on_fibers import KINDS, ON_FIBERS, tell


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


def test_a_handler_that_holds_up_all_others_is_named_once(serve: Any) -> None:
    serving = serve()
    assert serving.says("compute") == "computed"
    assert serving.says("compute") == "computed"
    serving.program.send(signal.SIGINT)
    serving.program.wait()
    errors = serving.program.errors()
    assert errors.count("manyhands: Handler for ") == 1
    assert "in compute" in errors
    assert (
        "it computes (manyhands.blocking runs such a call in a thread; docs/drop-in.md has"
        in errors
    )


SPINNING = """
def spin(self):
    while not self.rfile.readline(): pass
    return "never said"
Handler.spin = spin
"""


def test_a_handler_that_reads_on_at_the_end_is_named_once(serve: Any) -> None:
    serving = serve(before=f"exec({SPINNING!r}, globals())")
    with serving.conversation() as peer, serving.conversation() as another:
        for spinning in (peer, another):
            spinning.sendall(b"spin\n")
            spinning.shutdown(socket.SHUT_WR)
        while "end of its input" not in serving.program.error_line():
            pass
    assert serving.says("hello") == "hello"
    serving.program.send(signal.SIGINT)
    serving.program.wait()
    assert "end of its input" not in serving.program.errors()


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


def test_without_descriptors_the_backlog_is_refused_at_once(tmp_path: Path) -> None:
    # The patched os.close gives a descriptor back at the next turn of the loop only.
    write(
        tmp_path / "refuse.py",
        "import contextlib, os, resource, socket, time\n"
        "from manyhands.runtime.spare_descriptor import SpareDescriptor\n"
        "from manyhands.serving.accept_loop import close_waiting\n"
        "time.sleep(0.01)  # there is a loop now\n"
        "with socket.create_server(('127.0.0.1', 0)) as listener, SpareDescriptor() as spare:\n"
        "    with socket.create_connection(listener.getsockname()):\n"
        "        _, most = resource.getrlimit(resource.RLIMIT_NOFILE)\n"
        "        resource.setrlimit(resource.RLIMIT_NOFILE, (64, most))\n"
        "        with contextlib.suppress(OSError):\n"
        "            while True: os.dup(0)\n"
        "        with spare.given_up():\n"
        "            print(close_waiting(listener, 9))\n",
    )
    ours = python(*ON_FIBERS, "refuse.py", cwd=tmp_path)
    assert ours.output == "1\n", ours.errors


READS = {
    "os.read": "os.read(self.request.fileno(), 100)",
    "a file": "os.fdopen(os.dup(self.request.fileno()), 'rb', 0).read(100)",
    "a buffer": "os.fdopen(os.dup(self.request.fileno()), 'rb').readline()",
    "a child": "subprocess.run(['head', '-n1'], stdin=self.request, stdout=subprocess.PIPE).stdout",
}


@pytest.mark.parametrize("way", READS)
def test_a_handler_that_reads_by_its_descriptor_holds_up_itself_alone(serve: Any, way: str) -> None:
    lines = f"import subprocess\ndef read(self): return {READS[way]}.decode().strip()\nHandler.read = read\n"
    serving = serve(before=f"exec({lines!r}, globals())")
    with serving.conversation() as peer:
        peer.sendall(b"read\n")
        assert serving.says("hello") == serving.says("hello") == "hello"
        assert tell(peer, "later") == "later"


def test_a_handler_that_sends_a_file_by_its_descriptor_holds_up_itself_alone(serve: Any) -> None:
    lines = """
def file(self):
    with open("large", "wb+") as large:
        large.truncate(8_000_000)
        return str(os.sendfile(self.request.fileno(), large.fileno(), offset=0, count=9_000_000))
Handler.file = file
"""
    serving = serve(before=f"exec({lines!r}, globals())")
    with serving.conversation() as peer:
        peer.sendall(b"file\n")
        assert serving.says("hello") == "hello"
        received = 0
        while received < 8_000_000:
            received += len(peer.recv(min(1_000_000, 8_000_000 - received)))
        assert peer.recv(100) == b"8000000\n"
