"""Under `manyhands run`, a program finds all as plain python would have it."""

import json
import os
import signal
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from .launch import HOME, RUN, environment, python, write

TELL = """
import json, sys
print(json.dumps({
    "argv": sys.argv, "path": sys.path, "name": __name__, "file": __file__,
    "spec": __spec__ and __spec__.name, "package": __package__, "flags": list(sys.flags),
    "warnings": sys.warnoptions, "x": sys._xoptions, "unbuffered": sys.stdout.write_through,
    "executable": sys.executable, "prefix": sys.prefix, "stdin": sys.stdin.read(),
    "sitecustomize": "sitecustomize" in sys.modules,
}))
"""


@pytest.fixture
def programs(tmp_path: Path) -> Path:
    write(tmp_path / "file.py", TELL)
    write(tmp_path / "-dashed.py", TELL)
    write(tmp_path / "folder" / "__main__.py", TELL)
    write(tmp_path / "package" / "__init__.py", "")
    write(tmp_path / "package" / "__main__.py", TELL)
    write(tmp_path / "package" / "module.py", TELL)
    write(tmp_path / "spread" / "module.py", TELL)
    with zipfile.ZipFile(tmp_path / "zipped", "w") as archive:
        archive.writestr("__main__.py", TELL)
    return tmp_path


@pytest.mark.parametrize(
    "words",
    [
        ["file.py"],
        ["file.py", "--help", "--", "-m", "x", ""],
        ["folder", "-v"],
        ["zipped", "a", "--max-threads", "many"],
        ["-m", "file", "--bind", "127.0.0.1", "8000"],
        ["-mfile", "x"],
        ["-m", "package", "--", "a"],
        ["-m", "package.module"],
        ["-m", "spread.module"],
        ["--", "-dashed.py", "a", "-b"],
    ],
    ids=" ".join,
)
def test_a_program_is_run_as_python_runs_it(programs: Path, words: list[str]) -> None:
    plain = python(*words, cwd=programs, stdin="a line\n")
    ours = python(*RUN, *words, cwd=programs, stdin="a line\n")
    assert json.loads(plain.output)["stdin"] == "a line\n"
    assert (ours.status, json.loads(ours.output)) == (0, json.loads(plain.output))
    assert ours.errors == plain.errors


@pytest.mark.parametrize(
    "flags",
    [
        ["-u"],
        ["-uO", "-W", "error::ResourceWarning", "-Wdefault"],
        ["-X", "dev", "-Xutf8", "-P", "-s"],
        ["--check-hash-based-pycs", "always", "-bB"],
    ],
    ids=" ".join,
)
def test_the_interpreters_flags_are_kept(programs: Path, flags: list[str]) -> None:
    plain = python(*flags, "file.py", cwd=programs)
    ours = python(*flags, *RUN, "file.py", cwd=programs)
    assert json.loads(ours.output) == json.loads(plain.output)


@pytest.mark.parametrize(
    "flags", [["-u", "-mmanyhands"], ["-um", "manyhands"], ["-ummanyhands"]], ids=" ".join
)
def test_flags_are_kept_however_the_launcher_is_called(programs: Path, flags: list[str]) -> None:
    ours = python(*flags, "run", "file.py", cwd=programs)
    plain = python("-u", "file.py", cwd=programs)
    assert json.loads(ours.output) == json.loads(plain.output)


def test_a_program_that_comes_through_a_pipe_is_run(tmp_path: Path) -> None:
    reading, writing = os.pipe()
    os.write(writing, b"print('from a pipe')")
    os.close(writing)
    ours = subprocess.run(
        [sys.executable, *RUN, f"/dev/fd/{reading}"],
        cwd=tmp_path,
        env=environment(),
        pass_fds=[reading],
        capture_output=True,
        timeout=60,
        check=False,
    )
    os.close(reading)
    assert ours.stdout == b"from a pipe\n"


def test_the_exit_status_is_the_programs(tmp_path: Path) -> None:
    write(tmp_path / "leave.py", "raise SystemExit(42)")
    assert python(*RUN, "leave.py", cwd=tmp_path).status == 42


def test_a_signal_reaches_the_program_and_ends_it(tmp_path: Path) -> None:
    write(tmp_path / "die.py", "import os, signal; os.kill(os.getpid(), signal.SIGTERM)")
    assert python(*RUN, "die.py", cwd=tmp_path).status == -signal.SIGTERM


def test_the_program_has_the_process_that_was_started(tmp_path: Path) -> None:
    write(tmp_path / "who.py", "import os; print(os.getpid())")
    process = subprocess.Popen(
        [sys.executable, *RUN, "who.py"],
        cwd=tmp_path,
        env=environment(),
        stdout=subprocess.PIPE,
        text=True,
    )
    output, _ = process.communicate(timeout=60)
    assert int(output) == process.pid


def test_a_program_without_socketserver_pays_no_imports(tmp_path: Path) -> None:
    write(tmp_path / "list.py", "import sys; print(*sys.modules)")
    plain = set(python("list.py", cwd=tmp_path).output.split())
    ours = set(python(*RUN, "list.py", cwd=tmp_path).output.split())
    assert "sys" in plain
    assert ours - plain == {"_manyhands_startup"}


def test_the_package_need_not_be_on_the_programs_path(tmp_path: Path) -> None:
    which = "import socketserver; print(socketserver.TCPServer.server_bind.__code__.co_filename)"
    write(tmp_path / "which.py", which)
    without = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    ours = python(*RUN, tmp_path / "which.py", cwd=HOME, env=without)
    assert ours.output.strip() == str(HOME / "manyhands" / "dropin" / "tcp.py")
