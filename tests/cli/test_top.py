"""`manyhands top` as a command: plain text, and what it says when it cannot be had."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.console.scripted import Scripted, connection, server
from tests.control.fleet_kit import supervised
from tests.desk.kit import MANYHANDS, PATIENCE, Person, environment
from tests.support import Program

#: None in the place of a module makes its import fail, as if it were not installed.
WITHOUT_TEXTUAL = [
    sys.executable,
    "-c",
    (
        "import sys; sys.modules.update(textual=None, rich=None); "
        "from manyhands.cli import main; sys.exit(main())"
    ),
]


@pytest.fixture
def scripted(tmp_path: Path) -> Iterator[Scripted]:
    with Scripted(tmp_path / "control.sock") as scripted:
        yield scripted


def top(
    home: Path, *arguments: str, command: list[str] = MANYHANDS, **variables: str
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*command, "top", "--interval", "0.1", *arguments],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        env=environment(home, XDG_RUNTIME_DIR=str(home), **variables),
        timeout=PATIENCE,
        check=False,
    )


def printed(home: Path, *arguments: str, command: list[str] = MANYHANDS, **variables: str) -> str:
    """Return what it prints when all is well."""
    done = top(home, "--once", *arguments, command=command, **variables)
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


def refused(home: Path, *arguments: str, status: int = 2) -> str:
    """Return its sentence when it is not."""
    done = top(home, *arguments)
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (status, "", 1)
    return done.stderr


def test_once_prints_plain_text(scripted: Scripted, tmp_path: Path) -> None:
    scripted.servers = [server(closed={"idle": 4, "refused_full": 2}, bytes_in=5, bytes_out=6)]
    scripted.connections = [connection(1, peer="王小明 \x1b[31m"), connection(2, rooms=["red"])]
    text = printed(tmp_path, "--control", scripted.place, COLUMNS="120")
    assert text == (
        "serve shop:Echo   process 71   up 1 h 02 m   manyhands 0.1\n"
        "open 2   accepted 8   closed 6   refused 2\n"
        "accepted/s 0   closed/s 0   refused/s 0   in/s 0 B   out/s 0 B\n"
        "threads 3 of 10 ███░░░░░░░   processor 0%   memory 45 MB   descriptors 20 of 1,024   threads 5\n"
        "refused:   full 2\n"
        "127.0.0.1:8008 waiting 0 of 128\n"
        "ended:   idle 4\n"
        "\n"
        "2 connections  by id, rising\n"
        "    ▲id peer                     handler      state            age    silent     in    out"
        "  waiting  missed rooms\n"
        "      1 王小明 \\x1b[31m          Echo         open        1 m 01 s     1.0 s  100 B   10 B"
        "      0 B       0\n"
        "      2 10.0.0.2:40002           Echo         open        1 m 02 s     1.0 s  200 B   10 B"
        "      0 B       0 red\n"
    )


@pytest.mark.parametrize("engine", ["threads", "processes", "fibers"])
def test_once_looks_at_a_server_of_any_engine(folder: Path, engine: str) -> None:
    control = str(folder / "control.sock")
    serve = ["serve", "handlers.py:Echo", "--bind", "127.0.0.1:0", "--engine", engine]
    with Program(["-m", "manyhands", *serve, "--control", control], folder) as program:
        program.line()
        text = printed(folder, "--control", control)
    assert f"process {program.pid}" in text
    assert "open 0   accepted 0   closed 0   refused 0" in text
    assert "\n0 connections" in text


def test_once_looks_at_a_server_with_workers(tmp_path: Path) -> None:
    with supervised(tmp_path, 1) as fleet:
        fleet.fleet.members[0].call()
        text = printed(tmp_path, "--control", fleet.place)
    assert "\nworkers 1   generation 1\n" in text
    assert "\n1 connection" in text


def test_once_needs_no_extra(scripted: Scripted, tmp_path: Path) -> None:
    assert "3 connections" in printed(
        tmp_path, "--control", scripted.place, command=WITHOUT_TEXTUAL
    )


def test_once_filters_and_sorts(scripted: Scripted, tmp_path: Path) -> None:
    arguments = ("--control", scripted.place, "--filter", "10.0.0", "--sort=-in")
    rows = printed(tmp_path, *arguments).splitlines()[-3:]
    assert [row.split()[0] for row in rows] == ["3", "2", "1"]


def test_the_only_server_of_the_user_is_found(tmp_path: Path) -> None:
    folder = tmp_path / "manyhands"
    folder.mkdir(0o700)
    with Scripted(folder / f"{os.getpid()}.sock"):
        assert "3 connections" in printed(tmp_path, "--control", str(os.getpid()))


def test_what_the_server_refuses_is_an_error(scripted: Scripted, tmp_path: Path) -> None:
    arguments = ("--once", "--control", scripted.place, "--sort", "colour")
    sentence = "manyhands: connections are not sorted by 'colour'\n"
    assert refused(tmp_path, *arguments, status=1) == sentence


@pytest.mark.parametrize("arguments", [["--once"], []])
def test_a_server_that_is_not_there_is_an_error(tmp_path: Path, arguments: list[str]) -> None:
    command = [*MANYHANDS, "top", "--control", str(tmp_path / "none.sock"), *arguments]
    with Person(command, tmp_path, columns=200) as person:
        assert person.leaves() == 1
        assert len(person.text().splitlines()) == 1
        assert "none.sock" in person.text()


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (
            [],
            "top needs a terminal as its input, output and standard error: --once prints plain text",
        ),
        (["--interval", "0"], "--interval must be a number of seconds from 0.1 to 60, not '0'"),
        (["--interval", "nan"], "--interval must be a number of seconds from 0.1 to 60, not 'nan'"),
        (["--filter", "idle:x"], "idle: takes seconds, or 5m, 2h, not 'x'"),
        (["--once", "--control", ""], "'' is no place of a control socket: it is a path, or @NAME"),
    ],
)
def test_a_mistake_is_one_sentence(tmp_path: Path, arguments: list[str], sentence: str) -> None:
    assert refused(tmp_path, *arguments) == f"manyhands: {sentence}\n"


def test_a_screen_needs_the_extra_and_one_sentence_says_so(tmp_path: Path) -> None:
    with Person([*WITHOUT_TEXTUAL, "top"], tmp_path, columns=200) as person:
        assert person.leaves() == 2
        assert person.text() == (
            "manyhands: top at a terminal (--once prints plain text) needs textual, which is not here: "
            "pip install textual, or in a checkout of manyhands pip install '.[top]'"
        )


@pytest.mark.parametrize(
    ("term", "said"), [("dumb", "TERM is dumb"), ("", "TERM is not set")], ids=["dumb", "unknown"]
)
def test_a_terminal_that_can_do_nothing_gets_a_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, term: str, said: str
) -> None:
    monkeypatch.setattr("tests.desk.kit.environment", lambda home: {**os.environ, "TERM": term})
    with Person([*MANYHANDS, "top"], tmp_path, columns=200) as person:
        assert person.leaves() == 2
        assert person.text() == (
            "manyhands: top needs a terminal that puts text anywhere on the screen, "
            f"and {said}: --once prints plain text"
        )


def test_other_commands_do_not_load_the_screen() -> None:
    program = (
        "import sys, manyhands.cli.top, manyhands.console.plain; print('textual' in sys.modules)"
    )
    assert subprocess.check_output([sys.executable, "-c", program], text=True) == "False\n"
