"""A server with workers as a service: of systemd, on sockets that are given to it, as the first process."""

import os
import re
import shutil
import signal
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.supervisor.command import Shop, ShopCaller, is_there, shop
from tests.support import Program, ServiceManager, call, everything, wait_until
from tests.support.processes import children_of, own_number_of, state_of, stop
from tests.support.programs import ROOT

_WITH = (
    "import os, sys; os.environ.update({}); "
    "os.execv(sys.executable, [sys.executable, *sys.argv[1:]])"
)

_TELLS = """
class Echo(StreamRequestHandler):
    def handle(self):
        names = "NOTIFY_SOCKET", "WATCHDOG_USEC", "LISTEN_FDS"
        self.wfile.write(repr([os.environ.get(name) for name in names]).encode())
"""


_PROGRAM = """
import os
from manyhands import Server

def serve(request, client_address, server):
    request.sendall(repr(os.environ.get("NOTIFY_SOCKET")).encode())

if __name__ == "__main__":
    server = Server(serve, "tcp://127.0.0.1:0", workers=1)
    server.run(lambda: print(server.addresses[0].port, flush=True))
"""

_GIVEN = """
import os, sys
os.dup2({number}, 3)
os.set_inheritable(3, True)
os.environ.update(LISTEN_PID=str(os.getpid()), LISTEN_FDS="1", LISTEN_FDNAMES="web")
os.execv(sys.executable, [sys.executable, *sys.argv[1:]])
"""


def _shown(listener: socket.socket) -> str:
    host, port = listener.getsockname()
    return f"{host}:{port}"


@contextmanager
def _service(
    folder: Path, *flags: str, watchdog: float = 0
) -> Iterator[tuple[Shop, ServiceManager]]:
    with ServiceManager(f"@{folder}") as manager:
        told = {"NOTIFY_SOCKET": manager.where}
        if watchdog:
            told["WATCHDOG_USEC"] = str(round(watchdog * 1e6))
        with shop(folder, *flags, before=("-c", _WITH.format(told))) as served:
            yield served, manager


def test_systemd_is_told_of_the_start_of_reloads_and_of_the_end(tmp_path: Path) -> None:
    with _service(tmp_path, "--drain-timeout", "60") as (served, manager):
        ready = manager.hear()
        assert ready["READY"] == "1"
        assert ready["STATUS"] == f"serving on tcp://127.0.0.1:{served.address[1]}"
        served.write("two", first="time.sleep(0.3)")
        served.program.send(signal.SIGHUP)
        assert {"RELOADING", "MONOTONIC_USEC"} <= manager.hear().keys()
        # It serves on meanwhile, and is ready when the new workers are.
        assert served.word() == "one"
        assert manager.hear() == {"READY": "1", "STATUS": "reloaded"}
        assert served.word() == "two"
        served.write("three", first="raise ValueError('no stock')")
        served.program.send(signal.SIGHUP)
        assert "RELOADING" in manager.hear()
        failed = manager.hear()
        assert failed["READY"] == "1"
        assert failed["STATUS"].startswith("not reloaded: shop cannot be imported: ValueError")
        with served.call() as held:
            held.hold()
            served.program.send(signal.SIGTERM)
            assert manager.hear()["STOPPING"] == "1"
            # Again and again, for as long as the drain lasts.
            more = [manager.hear_until("EXTEND_TIMEOUT_USEC")[-1] for _ in range(2)]
            assert more[-1]["STATUS"] == "draining: 1 left"
        assert served.program.wait() == 0


def test_the_supervisor_says_that_it_lives_while_its_workers_hang(tmp_path: Path) -> None:
    with _service(tmp_path, watchdog=0.2) as (served, manager):
        for each in served.workers():
            stop(each["pid"])
        for _ in range(3):
            manager.hear_until("WATCHDOG")


def test_handlers_know_nothing_of_the_service_manager(tmp_path: Path) -> None:
    with _service(tmp_path, watchdog=60) as (served, _):
        served.module.write_text(f"import os\nfrom manyhands import StreamRequestHandler\n{_TELLS}")
        served.reload()
        with served.call() as caller:
            assert caller.end() == b"[None, None, None]"


def test_neither_do_those_of_a_program_whose_workers_are_its_copies(tmp_path: Path) -> None:
    program = tmp_path / "program.py"
    program.write_text(_PROGRAM)
    with ServiceManager(f"@{tmp_path}") as manager:
        before = ["-c", _WITH.format({"NOTIFY_SOCKET": manager.where}), str(program)]
        with Program(before, tmp_path) as running:
            with call(("127.0.0.1", int(running.line()))) as peer:
                assert everything(peer) == b"None"
            assert manager.hear()["READY"] == "1"


@pytest.mark.parametrize("address", ["systemd://web", "fd://3"])
def test_a_given_socket_outlives_reloads_and_the_process(address: str, tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        number = listener.fileno()
        before = ("-c", _GIVEN.format(number=number))
        for start in ("one", "two"):
            flags = ("--bind", address)
            with shop(tmp_path, *flags, before=before, inherited=[number]) as served:
                assert served.program.line() == f"listening on tcp://{_shown(listener)}"
                served.address = listener.getsockname()
                served.write(start)
                served.reload()
                assert served.word() == start
                served.program.send(signal.SIGTERM)
                assert served.program.wait() == 0
            # Whoever gave it has it: a client waits for the next process.
            served.call().close()


@pytest.mark.parametrize("address", ["systemd://web", "fd://3"])
@pytest.mark.parametrize("name", ["", "\0name", "socket"])
def test_a_given_socket_outlives_upgrades(address: str, name: str, tmp_path: Path) -> None:
    family = socket.AF_UNIX if name else socket.AF_INET
    with socket.socket(family) as listener:
        where = f"\0{tmp_path}" if "\0" in name else str(tmp_path / name)
        listener.bind(where if name else ("127.0.0.1", 0))
        listener.listen()
        number = listener.fileno()
        before = ("-c", _GIVEN.format(number=number))
        with shop(tmp_path, "--bind", address, before=before, inherited=[number]) as served:
            assert served.program.line().startswith("listening on ")
            for word in ("one", "two"):
                served.write(word)
                served.program.send(signal.SIGUSR2)
                for _ in range(2):
                    assert served.program.line().startswith("listening on ")
                served.hear("Reloaded")
                with ShopCaller(listener.getsockname(), family) as caller:
                    assert caller.word() == word
            served.program.send(signal.SIGTERM)
            assert served.program.wait() == 0
        # The file is its giver's, who has the next process listen there.
        assert (tmp_path / "socket").exists() == (name == "socket")


@pytest.mark.parametrize("how", ["by a manager", "at a terminal"])
def test_what_is_asked_to_stop_while_it_starts_ends_and_leaves_nothing(
    how: str, tmp_path: Path
) -> None:
    served = Shop(tmp_path, first="open('begun', 'w').close(); time.sleep(600)")
    with served.program as program:
        wait_until((tmp_path / "begun").exists)
        processes = children_of(program.pid)
        if how == "at a terminal":
            program.send_to_group(signal.SIGINT)
        else:
            program.send(signal.SIGTERM)
        assert (program.wait(), program.errors()) == (0, "")
        wait_until(lambda: not any(map(is_there, processes)))


@pytest.mark.skipif(
    os.geteuid() != 0 or shutil.which("unshare") is None,
    reason="namespaces of processes are for root, by way of unshare(1)",
)
def test_the_first_process_of_a_container_waits_for_orphans_and_knows_its_own(
    tmp_path: Path,
) -> None:
    words = ["unshare", "--pid", "--fork", "--mount-proc", "--kill-child"]
    become = f"import os, sys; os.execvp('unshare', [*{words}, sys.executable, *sys.argv[1:]])"
    orphan = "os.system('sleep 0.05 & sleep 0.05 &')"
    with shop(tmp_path, before=("-c", become)) as served:
        [first, *_] = children_of(served.program.pid)
        served.write("two", first=orphan)
        served.reload()
        assert served.word() == "two"
        # A worker has died all the same, and how.
        wait_until(lambda: len(served.workers()) == 2)
        by_number = {own_number_of(each): each for each in children_of(first)}
        os.kill(by_number[served.workers()[0]["pid"]], signal.SIGKILL)
        assert served.hear("WorkerDied")["how"] == "by SIGKILL"
        wait_until(lambda: [each["state"] for each in served.workers()] == ["serving"] * 2)
        wait_until(lambda: "Z" not in map(state_of, children_of(first)))
        os.kill(first, signal.SIGTERM)
        assert served.program.wait() == 0


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="there is no systemd here")
def test_systemd_understands_the_units_of_the_documentation(tmp_path: Path) -> None:
    said = (ROOT / "docs" / "systemd.md").read_text(encoding="utf-8")
    units = re.findall(r"```ini\n# /etc/systemd/system/(\S+)\n(.*?)```", said, re.DOTALL)
    assert len(units) == 3
    for name, text in units:
        (tmp_path / name).write_text(text.replace("/opt/shop/bin/manyhands", "/bin/true"))
    verified = subprocess.run(
        ["systemd-analyze", "verify", *(str(tmp_path / name) for name, _ in units)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    told = [line for line in verified.stderr.splitlines() if str(tmp_path) in line]
    # Before its version 253 systemd does not know that, as the page says.
    assert [line for line in told if "service type, ignoring: notify-reload" not in line] == []
    assert verified.returncode == 0
