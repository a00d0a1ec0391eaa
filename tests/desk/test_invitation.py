"""What the desk's first lines say works as it stands."""

import os
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from manyhands.desk.desk import invitation
from manyhands.model.addresses import parse
from tests.desk.kit import Desk, environment


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder, with a program in an environment below it."""
    program = tmp_path / "my project" / ".venv" / "bin" / "manyhands"
    program.parent.mkdir(parents=True)
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    monkeypatch.chdir(tmp_path / "my project")
    monkeypatch.setattr(sys, "argv", [str(program), "chat"])
    monkeypatch.setenv("PATH", os.defpath)
    return program.parent


def invited(address: str) -> str:
    return "\n".join(invitation([parse(address)]))


def test_a_program_that_is_not_on_the_path_is_named_by_its_path_from_here(folder: Path) -> None:
    assert "    .venv/bin/manyhands connect 127.0.0.1:8008\n" in invited("tcp://127.0.0.1:8008")


def test_a_program_that_is_on_the_path_is_named_by_its_name(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(folder))
    assert "    manyhands connect 127.0.0.1:8008\n" in invited("tcp://127.0.0.1:8008")


def test_another_program_of_that_name_on_the_path_is_not_meant(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = tmp_path / "manyhands"
    other.write_text("#!/bin/sh\n")
    other.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert "    .venv/bin/manyhands connect" in invited("tcp://127.0.0.1:8008")


def test_a_program_in_the_current_folder_is_named_so_that_the_shell_finds_it(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(folder)
    assert "    ./manyhands connect" in invited("tcp://127.0.0.1:8008")


def test_a_program_elsewhere_is_named_by_its_whole_path_quoted(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    assert f"    {shlex.quote(str(folder / 'manyhands'))} connect" in invited("tcp://127.0.0.1:1")


@pytest.mark.parametrize(
    ("address", "client", "netcat"),
    [
        ("tcp://127.0.0.1:8008", "connect 127.0.0.1:8008", "nc 127.0.0.1 8008"),
        ("tcp://0.0.0.0:8008", "connect 127.0.0.1:8008", "nc 127.0.0.1 8008"),
        ("tcp://:8008", "connect 127.0.0.1:8008", "nc 127.0.0.1 8008"),
        ("tcp://[::1]:8008", "connect [::1]:8008", "nc ::1 8008"),
        ("unix:///run/my desk", "connect 'unix:///run/my desk'", "nc -U '/run/my desk'"),
    ],
)
def test_every_kind_of_address_can_be_called(
    folder: Path, address: str, client: str, netcat: str
) -> None:
    lines = invited(address).splitlines()
    assert lines[1].endswith(client)
    assert lines[2].endswith(netcat)


@pytest.mark.parametrize("encoding", ["utf-8", "gbk"])
def test_the_command_in_the_first_lines_works_as_it_stands(tmp_path: Path, encoding: str) -> None:
    with Desk(tmp_path, "--encoding", encoding) as desk:
        command = next(line.strip() for line in desk.output if " connect " in line)
        done = subprocess.run(
            command,
            shell=True,
            input="你好\nbyebye\n".encode(),
            capture_output=True,
            env=environment(tmp_path),
            check=True,
        )
        desk.shows("你好$")
        assert (done.stdout, done.stderr) == (b"byebye\n", b"")
