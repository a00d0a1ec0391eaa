"""`manyhands web`: where it may be, what it prints, and its end."""

import json
import os
import re
import signal
import socket
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from tests.support import Authority, Program, python, wait_until, write_handlers
from tests.support.waiting import PATIENCE
from tests.web.kit import Watched, watched

WEB = ["-m", "manyhands", "web", "--control"]
HERE = ("--bind", "tcp://127.0.0.1:0")


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Watched]:
    with watched(tmp_path) as server:
        yield server


def web(folder: Path, *words: str) -> Program:
    return Program([*WEB, str(folder / "control"), *words])


def opened(url: str, token: str, path: str = "calls") -> int:
    request = urllib.request.Request(
        url + path,
        b'{"jsonrpc": "2.0", "id": 1, "method": "limits.get"}',
        {"Authorization": f"Bearer {token}", "Content-Type": "application/json"},
    )
    try:
        with urllib.request.urlopen(request, timeout=PATIENCE) as answer:
            return int(answer.status)
    except urllib.error.HTTPError as refusal:
        return refusal.code


def refused(*words: str, status: int = 2) -> str:
    finished = python(*WEB, *words)
    assert (finished.returncode, finished.stdout) == (status, "")
    assert finished.stderr.count("\n") == 1
    return finished.stderr


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_it_prints_the_link_once_and_ends_on_a_signal(
    tmp_path: Path, server: Watched, number: signal.Signals
) -> None:
    with web(tmp_path, *HERE) as program:
        assert program.line() == "watching process 71, serve shop:Echo"
        found = re.fullmatch(r"open (http://127\.0\.0\.1:\d+/)#t=([\w-]{43})", program.line())
        assert found
        assert opened(found[1], found[2]) == 200
        assert opened(found[1], "wrong") == 401
        program.send(number)
        assert program.wait() == 0
        assert program.lines_left() == []
        assert program.errors() == ""


def test_it_goes_on_when_the_server_ends_and_finds_it_again(tmp_path: Path) -> None:
    with watched(tmp_path) as server:
        program = web(tmp_path, *HERE)
        program.line()
        url, _, token = program.line().removeprefix("open ").partition("#t=")
        wait_until(lambda: server.watchers)
    with program:
        again = Watched(pid=72, started="2026-11-30T02:00:00+00:00")
        with watched(tmp_path, again):
            wait_until(lambda: again.watchers)
            assert opened(url, token) == 200
        program.send(signal.SIGINT)
        assert program.wait() == 0


@contextmanager
def watched_processes(url: str, token: str) -> Iterator[Iterator[int]]:
    """Yield the processes that the page watches, one after the other, as its stream tells of them."""
    headers = {"Authorization": f"Bearer {token}"}
    request = urllib.request.Request(f"{url}events", headers=headers)
    with urllib.request.urlopen(request, timeout=PATIENCE) as stream:
        data = (line.removeprefix(b"data: ") for line in stream if line.startswith(b"data: {"))
        yield (told["server"]["pid"] for told in map(json.loads, data) if "server" in told)


def test_a_server_of_the_command_s_is_found_by_its_process_and_again_by_its_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_handlers(tmp_path)
    # Other tests may have servers of this name at the same time.
    name = f"handlers_{os.getpid()}"
    (tmp_path / "handlers.py").rename(tmp_path / f"{name}.py")
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    serve = ["-m", "manyhands", "serve", f"{name}:Echo", *HERE]
    with Program(serve, tmp_path) as server:
        assert server.line().startswith("listening on")
        page = Program([*WEB, str(server.pid), *HERE])
        assert f"process {server.pid}" in page.line()
        url, _, token = page.line().removeprefix("open ").partition("#t=")
        stack = ExitStack()
        processes = stack.enter_context(watched_processes(url, token))
        assert next(processes) == server.pid
    with page, stack, Program(serve, tmp_path) as again:
        assert again.line().startswith("listening on")
        assert next(processes) == again.pid


def test_a_token_that_is_kept_in_a_file_is_not_printed(tmp_path: Path, server: Watched) -> None:
    file = tmp_path / "token"
    tokens = set()
    for _ in range(2):
        with web(tmp_path, *HERE, "--token-file", str(file)) as program:
            program.line()
            token = file.read_text(encoding="ascii").strip()
            found = re.fullmatch(rf"open (http://[\d.:]+/)#t=<what {file} has>", program.line())
            assert found
            assert opened(found[1], token) == 200
            tokens.add(token)
    assert len(tokens) == 1
    assert file.stat().st_mode & 0o777 == 0o600


def test_a_token_file_that_does_not_fit_is_one_sentence(tmp_path: Path, server: Watched) -> None:
    control, file = str(tmp_path / "control"), tmp_path / "token"
    file.touch(0o600)
    assert "has no token" in refused(control, "--token-file", str(file))
    file.chmod(0o640)
    assert "chmod 600" in refused(control, "--token-file", str(file))
    assert "cannot be read or made" in refused(control, "--token-file", str(tmp_path / "no" / "t"))
    file.unlink()
    os.mkfifo(file, 0o600)
    assert "has no token" in refused(control, "--token-file", str(file))
    foreign = Path("/etc/hostname")
    if os.geteuid() == 0:
        file.unlink()
        foreign = file
        foreign.write_text("known-to-another-user-for-a-long-time\n", encoding="ascii")
        foreign.chmod(0o600)
        os.chown(foreign, 65534, 65534)
    assert "belongs to another user" in refused(control, "--token-file", str(foreign))


def test_a_link_that_standard_output_does_not_take_is_not_in_the_log(
    tmp_path: Path, server: Watched
) -> None:
    words = ["web", "--control", str(tmp_path / "control"), *HERE]
    program = (
        "import os, sys; from manyhands.cli import main; "
        f"os.dup2(os.open('/dev/full', os.O_WRONLY), 1); sys.exit(main({words!r}))"
    )
    with Program(["-c", program]) as page:
        assert "watching process 71" in page.error_line()
        said = page.error_line()
        assert "the page is on tcp://127.0.0.1:" in said
        assert "No space left on device" in said
        page.send(signal.SIGTERM)
        assert "#t=" not in said + page.errors()


@pytest.mark.parametrize(
    ("address", "sentence"),
    [
        ("tcp://0.0.0.0:0", "the page is not served on tcp://0.0.0.0:0"),
        ("tcp://:0", "the page is not served on tcp://:0"),
        ("tcp://192.0.2.1:80", "give it tcp://127.0.0.1:PORT, unix://PATH, or tls://HOST:PORT"),
        ("udp://127.0.0.1:0", "the page is not served on udp://127.0.0.1:0"),
        ("fd://0", "the page is not served on fd://0"),
        ("http://127.0.0.1:0", "HTTP is spoken over tcp://"),
        ("tls://:0", "has to know its name"),
        ("tls://127.0.0.1:0", "certfile"),
    ],
)
def test_an_address_that_others_could_listen_to_is_one_sentence(
    tmp_path: Path, server: Watched, address: str, sentence: str
) -> None:
    assert sentence in refused(str(tmp_path / "control"), "--bind", address)


def test_a_name_that_is_none_is_one_sentence(tmp_path: Path, server: Watched) -> None:
    assert "--host 'a/b' is no name" in refused(str(tmp_path / "control"), "--host", "a/b")


def test_a_server_that_is_not_there_is_one_sentence(tmp_path: Path) -> None:
    assert "there is no control socket at" in refused(str(tmp_path / "nothing"), status=1)


def test_a_port_that_is_taken_is_one_sentence(tmp_path: Path, server: Watched) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"tcp://127.0.0.1:{taken.getsockname()[1]}"
        assert "cannot listen on" in refused(str(tmp_path / "control"), "--bind", address)


def test_on_every_interface_the_link_has_the_name_that_was_given(
    tmp_path: Path, server: Watched, authority: Authority
) -> None:
    certfile, keyfile = authority.write(tmp_path, "localhost")
    words = ("--bind", "tls://:0", "--certfile", certfile, "--keyfile", keyfile)
    with web(tmp_path, *words, "--host", "status.example.org") as program:
        program.line()
        assert program.line().startswith("open https://status.example.org:")


def test_on_a_unix_socket_the_token_is_told(tmp_path: Path, server: Watched) -> None:
    path = tmp_path / "page"
    with web(tmp_path, "--bind", f"unix://{path}") as program:
        program.line()
        assert program.line().startswith(f"the page is on unix://{path}, its token is ")


def test_no_link_goes_into_the_journal(
    tmp_path: Path, server: Watched, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "journal"
    with path.open("w+", encoding="ascii") as journal:
        found = os.fstat(journal.fileno())
        monkeypatch.setenv("JOURNAL_STREAM", f"{found.st_dev}:{found.st_ino}")
        words = ["web", "--control", str(tmp_path / "control"), *HERE]
        program = (
            "import os; from manyhands.cli import main; "
            f"os.dup2(os.open({str(path)!r}, os.O_WRONLY), 1); raise SystemExit(main({words!r}))"
        )
        finished = python("-c", program)
        assert finished.returncode == 2
        assert "--token-file" in finished.stderr
        assert journal.read() == ""


def test_without_h11_it_is_one_sentence(tmp_path: Path, server: Watched) -> None:
    (tmp_path / "h11.py").write_text("raise ImportError('as if it were not there')\n")
    program = (
        "import sys; sys.path.insert(0, '.'); from manyhands.cli import main; sys.exit(main())"
    )
    finished = python("-c", program, *WEB[2:], "control", folder=tmp_path)
    assert finished.returncode == 2
    assert finished.stderr == (
        "manyhands: manyhands web needs h11, which is not here: pip install h11, or in a checkout of "
        "manyhands pip install '.[web]'\n"
    )
