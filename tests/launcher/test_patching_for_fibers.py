"""What `manyhands run --engine fibers` patches, and what it does where gevent is missing."""

import json
import venv
from pathlib import Path

import pytest

from manyhands.launcher.environment import LOG_VARIABLE, OPTIONS_VARIABLE, STARTUP
from tests.support import Program, call, everything

from .launch import RUN, environment, python, write
from .on_fibers import ON_FIBERS, PATCHED


def test_a_program_that_serves_nothing_is_patched_before_it_is_loaded(tmp_path: Path) -> None:
    write(tmp_path / "which.py", PATCHED)
    assert python(*ON_FIBERS, "which.py", cwd=tmp_path).output == "gevent._socket3\n"


def test_what_packages_have_for_gevent_is_told_of_each_step(tmp_path: Path) -> None:
    events = ("will_patch_all", "did_patch_builtins", "did_patch_all")
    package = tmp_path / "plug_in-1.0.dist-info"
    package.mkdir()
    write(package / "METADATA", "Name: plug-in\nVersion: 1.0\n")
    write(
        package / "entry_points.txt",
        "".join(f"[gevent.plugins.monkey.{each}]\nit = plug_in:tell\n" for each in events),
    )
    write(tmp_path / "plug_in.py", "def tell(event):\n    print(type(event).__name__)\n")
    write(
        tmp_path / "which.py",
        "from importlib import metadata; print(metadata.entry_points.__module__)\n",
    )
    env = {**environment(), "PYTHONPATH": str(tmp_path)}
    assert python(*ON_FIBERS, "which.py", cwd=tmp_path, env=env).output.split() == [
        "GeventWillPatchAllEvent",
        "GeventDidPatchBuiltinModulesEvent",
        "GeventDidPatchAllEvent",
        "importlib.metadata",
    ]


@pytest.mark.parametrize("options", [[], ["--engine", "threads"]])
def test_only_the_fiber_engine_patches(tmp_path: Path, options: list[str]) -> None:
    write(tmp_path / "which.py", PATCHED)
    assert python(*RUN, *options, "which.py", cwd=tmp_path).output == "socket\n"


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
        "pip install gevent, or in a checkout of manyhands pip install '.[fibers]'\n"
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


def test_such_a_child_says_so_in_json_where_the_log_is(
    tmp_path: Path, without_gevent: Path
) -> None:
    write(tmp_path / "child.py", "import socketserver\n")
    env = {
        **environment(),
        "PYTHONPATH": str(STARTUP),
        OPTIONS_VARIABLE: '{"engine": "fibers"}',
        LOG_VARIABLE: '{"form": "json", "access": false}',
    }
    ours = python("child.py", cwd=tmp_path, env=env, interpreter=without_gevent)
    assert json.loads(ours.errors)["message"].startswith(f"{without_gevent} has no gevent, so this")


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
