"""Under `manyhands run`, a program and its children use our classes, with the options given."""

import os
import signal
import subprocess
import sys
import urllib.request
import venv
from pathlib import Path

import pytest

from manyhands import socketserver
from manyhands.launcher.environment import OPTIONS_VARIABLE, STARTUP, extend

from .launch import RUN, environment, python, write

WHICH = "import socketserver; print(socketserver.BaseServer.serve_forever.__code__.co_filename)\n"
OURS = f"{socketserver.BaseServer.serve_forever.__code__.co_filename}\n"


def test_the_program_has_our_classes(tmp_path: Path) -> None:
    write(tmp_path / "which.py", WHICH)
    assert python(*RUN, "which.py", cwd=tmp_path).output == OURS
    assert python("which.py", cwd=tmp_path).output != OURS


def test_a_package_of_the_programs_own_that_has_our_name_is_no_obstacle(tmp_path: Path) -> None:
    write(tmp_path / "which.py", WHICH)
    write(tmp_path / "manyhands.py", "raise RuntimeError('not the one that is meant')")
    ours = python(*RUN, tmp_path / "which.py", cwd=tmp_path.parent)
    assert (ours.output, ours.errors) == (OURS, "")


def test_what_the_standard_library_builds_on_it_is_ours_too(tmp_path: Path) -> None:
    write(
        tmp_path / "which.py",
        "import http.server, xmlrpc.server, logging.config\n"
        "print(http.server.HTTPServer.serve_forever.__code__.co_filename)\n"
        "print(xmlrpc.server.SimpleXMLRPCServer.serve_forever.__code__.co_filename)\n"
        "print(logging.config.ThreadingTCPServer.serve_forever.__code__.co_filename)\n",
    )
    assert python(*RUN, "which.py", cwd=tmp_path).output == OURS * 3


OPTIONS = """
import socketserver
print(socketserver.ThreadingTCPServer.max_threads, socketserver.UDPServer.allow_reuse_port,
      getattr(socketserver.BaseServer, "engine", None), socketserver.BaseServer.handshake_timeout)
class Own(socketserver.ThreadingTCPServer):
    max_threads = 3
print(Own.max_threads)
"""


def test_options_are_class_attributes_that_the_programs_own_classes_override(
    tmp_path: Path,
) -> None:
    write(tmp_path / "tell.py", OPTIONS)
    options = ["--max-threads", "5", "--allow-reuse-port", "--handshake-timeout=none"]
    ours = python(*RUN, *options, "--engine", "threads", "tell.py", cwd=tmp_path)
    assert ours.output == "5 True threads None\n3\n"


def test_without_options_the_defaults_stay(tmp_path: Path) -> None:
    write(tmp_path / "tell.py", OPTIONS)
    assert python(*RUN, "tell.py", cwd=tmp_path).output == "None False None 10.0\n3\n"


def test_a_launcher_inside_a_launched_program_replaces_the_options(tmp_path: Path) -> None:
    write(tmp_path / "tell.py", OPTIONS)
    inner = [*RUN, "--allow-reuse-port", "tell.py"]
    write(
        tmp_path / "outer.py",
        "import subprocess, sys, os\n"
        f"subprocess.run([sys.executable, *{inner!r}], check=True)\n"
        f"print(os.environ['PYTHONPATH'].split(os.pathsep).count({str(STARTUP)!r}))\n",
    )
    ours = python("-u", *RUN, "--max-threads", "5", "outer.py", cwd=tmp_path)
    assert ours.output == "None True None 10.0\n3\n1\n"


CHILDREN = {
    "a reloader's re-exec": """
import os, subprocess, sys
if "CHILD" in os.environ:
    import socketserver
    print(socketserver.BaseServer.serve_forever.__code__.co_filename)
    print(socketserver.ThreadingMixIn.max_threads)
else:
    subprocess.run([sys.executable, *sys.argv], env={**os.environ, "CHILD": "1"}, check=True)
""",
    "an exec": """
import os, sys
if "CHILD" in os.environ:
    import socketserver
    print(socketserver.BaseServer.serve_forever.__code__.co_filename)
    print(socketserver.ThreadingMixIn.max_threads)
else:
    os.environ["CHILD"] = "1"
    os.execv(sys.executable, sys.orig_argv)
""",
    **{
        f"multiprocessing, {method}": f"""
import multiprocessing

def tell():
    import socketserver
    print(socketserver.BaseServer.serve_forever.__code__.co_filename)
    print(socketserver.ThreadingMixIn.max_threads, flush=True)

if __name__ == "__main__":
    process = multiprocessing.get_context({method!r}).Process(target=tell)
    process.start()
    process.join()
"""
        for method in ("spawn", "forkserver", "fork")
    },
}


@pytest.mark.parametrize("kind", CHILDREN)
def test_children_have_our_classes_and_the_options(tmp_path: Path, kind: str) -> None:
    write(tmp_path / "parent.py", CHILDREN[kind])
    ours = python(*RUN, "--max-threads", "5", "parent.py", cwd=tmp_path)
    assert ours.output == f"{OURS}5\n", ours.errors


def test_a_sitecustomize_on_the_users_path_still_runs(tmp_path: Path) -> None:
    write(tmp_path / "own" / "sitecustomize.py", "import sys; sys.seen = __file__\n")
    write(tmp_path / "tell.py", "import sys, sitecustomize as s; print(sys.seen, s.__file__)")
    ours = python(*RUN, "tell.py", cwd=tmp_path, env=environment(tmp_path / "own"))
    own = tmp_path / "own" / "sitecustomize.py"
    assert ours.output == f"{own} {own}\n"


def test_a_sitecustomize_that_uses_socketserver_gets_ours(tmp_path: Path) -> None:
    write(tmp_path / "own" / "sitecustomize.py", WHICH)
    write(tmp_path / "nothing.py", "")
    env = extend(environment(tmp_path / "own"), {})
    ours = python("nothing.py", cwd=tmp_path, env=env)
    assert (ours.output, ours.errors) == (OURS, "")


def test_a_sitecustomize_that_fails_fails_as_it_does_without_us(tmp_path: Path) -> None:
    write(tmp_path / "own" / "sitecustomize.py", "import not_there")
    write(tmp_path / "which.py", WHICH)
    env = environment(tmp_path / "own")
    plain = python("which.py", cwd=tmp_path, env=env)
    ours = python("which.py", cwd=tmp_path, env=extend(env, {}))
    assert "not_there" in plain.errors
    assert ours.errors == plain.errors
    assert ours.output == OURS


@pytest.fixture(scope="module")
def virtual(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("virtual")
    venv.create(folder, symlinks=True)
    return folder


def packages_of(virtual: Path) -> Path:
    return next(virtual.glob("lib/python*/site-packages"))


def test_a_sitecustomize_of_the_interpreters_installation_still_runs(
    tmp_path: Path, virtual: Path
) -> None:
    own = write(packages_of(virtual) / "sitecustomize.py", "import sys; sys.seen = __file__\n")
    write(tmp_path / "tell.py", f"import sys; print(sys.seen)\n{WHICH}")
    ours = python(*RUN, "tell.py", cwd=tmp_path, interpreter=virtual / "bin" / "python")
    own.unlink()
    assert ours.output == f"{own}\n{OURS}"


def test_an_interpreter_that_starts_with_socketserver_imported_names_the_module_that_has_the_old_one(
    tmp_path: Path, virtual: Path
) -> None:
    early = write(packages_of(virtual) / "early.pth", "import http.server\n")
    write(tmp_path / "which.py", WHICH)
    ours = python(*RUN, "which.py", cwd=tmp_path, interpreter=virtual / "bin" / "python")
    early.unlink()
    assert ours.output == OURS
    assert "RuntimeWarning: manyhands.install() came too late for http.server" in ours.errors


def test_an_older_interpreter_is_left_as_it_is(tmp_path: Path) -> None:
    pretend = f"""
import sys
sys.version_info = (3, 10)
sys.path.insert(0, {str(STARTUP)!r})
try:
    import sitecustomize
except ImportError as error:
    print(error.name, "_manyhands_startup" in sys.modules, {str(STARTUP)!r} in sys.path)
"""
    assert python("-c", pretend, cwd=tmp_path).output == "sitecustomize False False\n"


def test_a_replacement_that_fails_is_no_silent_return_to_the_standard_library(
    tmp_path: Path,
) -> None:
    write(tmp_path / "which.py", WHICH)
    env = {**extend(environment(), {}), OPTIONS_VARIABLE: '{"max_threads": "many"}'}
    ours = python("which.py", cwd=tmp_path, env=env)
    assert ours.output == ""
    assert "max_threads must be a whole number of at least 1" in ours.errors


def served(*words: str, cwd: Path) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [sys.executable, "-u", *RUN, *words],
        cwd=cwd,
        env=environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )


def first_line(process: "subprocess.Popen[str]") -> str:
    assert process.stdout is not None
    return process.stdout.readline()


def test_the_standard_librarys_web_server_serves_files(tmp_path: Path) -> None:
    write(tmp_path / "a.txt", "contents")
    with served("-m", "http.server", "0", "--bind", "127.0.0.1", cwd=tmp_path) as server:
        port = first_line(server).split(" port ")[1].split()[0]
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/a.txt", timeout=30) as answer:
            assert answer.read() == b"contents"
        server.send_signal(signal.SIGINT)
        assert server.wait(30) == 0


def test_the_example_of_a_web_application_serves_each_client_in_a_thread(tmp_path: Path) -> None:
    example = Path(__file__).parents[2] / "examples" / "wsgi_app.py"
    with served("--engine", "threads", str(example), "0", cwd=tmp_path) as server:
        url = first_line(server).split()[-1]
        with urllib.request.urlopen(url, timeout=30) as answer:
            assert b"served by Thread-" in answer.read()
        server.terminate()


def test_the_launched_environment_names_the_startup_folder_once_and_first() -> None:
    once = extend({"PYTHONPATH": "a"}, {})
    assert extend(once, {})["PYTHONPATH"] == os.pathsep.join([str(STARTUP), "a"])
    assert extend({}, {})["PYTHONPATH"] == str(STARTUP)
