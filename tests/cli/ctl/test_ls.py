"""`manyhands ctl ls`: which servers there are, those that do not answer among them."""

import json
import os
import socket
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from manyhands.cli import main
from tests.control.kit import RefusalError, answering, served


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The user's folder for control sockets, in which alone they are looked for."""
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    monkeypatch.delenv("RUNTIME_DIRECTORY", raising=False)
    monkeypatch.setattr("manyhands.listening.proc_net.PROC", str(tmp_path))
    (tmp_path / "manyhands").mkdir()
    return tmp_path / "manyhands"


@pytest.fixture
def stack() -> Iterator[ExitStack]:
    with ExitStack() as stack:
        yield stack


STATUS = {"uptime": 11_520.0, "books": {"open": 1200}}


def test_servers_are_listed_in_the_order_of_their_processes(
    folder: Path, stack: ExitStack, capsys: pytest.CaptureFixture[str]
) -> None:
    def refuse(_: object) -> None:
        raise RefusalError(-32603, "broken")

    for pid, answer in ((720, refuse), (71, lambda _: STATUS)):
        verbs = answering({"status": answer}, pid=pid, name=f"serve {pid}")
        stack.enter_context(served(f"{folder}/{pid}.sock", verbs))
    assert main(["ctl", "ls"]) == 0
    assert capsys.readouterr().out.splitlines() == [
        "PID  NAME         UPTIME  CONNECTIONS  PLACE",
        f" 71  serve 71   3 h 12 m        1,200  {folder}/71.sock",
        f"720  serve 720         -            -  {folder}/720.sock",
    ]
    assert main(["ctl", "ls", "--json"]) == 0
    first, second = json.loads(capsys.readouterr().out)["items"]
    assert first == {
        "pid": 71,
        "user": os.geteuid(),
        "place": f"{folder}/71.sock",
        "name": "serve 71",
        "started": "2026-11-30T01:02:03+00:00",
        "manyhands": "0.9",
        "uptime": 11_520.0,
        "open": 1200,
    }
    assert second["why_not"] == "broken"


def test_one_that_does_not_answer_is_listed_too(
    folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("manyhands.control.discovery.LOOK_TIMEOUT", 0.05)
    with socket.socket(socket.AF_UNIX) as stopped:
        stopped.bind(f"{folder}/71.sock")
        stopped.listen()
        assert main(["ctl", "ls"]) == 0
        assert capsys.readouterr().out.splitlines()[1].startswith(" 71  (does not answer)  ")
        assert main(["ctl", "ls", "--json"]) == 0
        [item] = json.loads(capsys.readouterr().out)["items"]
        assert item["why_not"].startswith(f"the server at {folder}/71.sock says nothing")


@pytest.mark.parametrize(("words", "printed"), [([], ""), (["--json"], '{"items": []}\n')])
def test_without_a_server_it_fails(
    folder: Path, capsys: pytest.CaptureFixture[str], words: list[str], printed: str
) -> None:
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(f"{folder}/71.sock")
    assert main(["ctl", "ls", *words]) == 1
    said = capsys.readouterr()
    assert said.out == printed
    assert "no server of yours has a control socket in the usual places" in said.err
    assert list(folder.iterdir()) == []


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may give files away, and sees all servers")
def test_root_is_told_whose_the_servers_are(
    folder: Path, stack: ExitStack, capsys: pytest.CaptureFixture[str]
) -> None:
    for pid in (71, 72):
        verbs = answering({"status": lambda _: STATUS})
        stack.enter_context(served(f"{folder}/{pid}.sock", verbs))
    # Its server is root's all the same: so it is none of that user's, and is left out.
    os.chown(folder / "72.sock", 4711, -1)
    assert main(["ctl", "ls"]) == 0
    assert len(capsys.readouterr().out.splitlines()) == 2


def test_ls_takes_no_place(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["ctl", "--control", "x", "ls"]) == 2
    assert "leave --control out" in capsys.readouterr().err
