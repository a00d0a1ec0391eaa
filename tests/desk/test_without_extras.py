"""The desk on the base package alone: without prompt_toolkit, platformdirs and gevent."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.desk.kit import PATIENCE, Desk, Person, environment

#: None in the place of a module makes its import fail, as if it were not installed. (gevent needs greenlet.)
WITHOUT_EXTRAS = [
    sys.executable,
    "-c",
    (
        "import sys; "
        "sys.modules.update(prompt_toolkit=None, platformdirs=None, greenlet=None); "
        "from manyhands.cli import main; sys.exit(main())"
    ),
]


def test_with_pipes_and_a_named_transcript_nothing_is_missed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tests.desk.kit.MANYHANDS", WITHOUT_EXTRAS)
    with Desk(tmp_path) as desk:
        client = [*WITHOUT_EXTRAS, "connect", f"127.0.0.1:{desk.port}"]
        output = subprocess.check_output(
            client, input=b"hello\nbyebye\n", env=environment(tmp_path), timeout=PATIENCE
        )
        assert output == b"byebye\n"
        desk.shows("hello$")
        desk.enters("/quit")
        assert desk.ends() == 0
    transcript = ["transcript", "--transcript", str(tmp_path / "transcript.sqlite")]
    assert b" < hello\n" in subprocess.check_output([*WITHOUT_EXTRAS, *transcript])


def refused(tmp_path: Path, *arguments: str) -> str:
    """Run a command that is refused; return the sentence."""
    done = subprocess.run(
        [*WITHOUT_EXTRAS, *arguments],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        env=environment(tmp_path),
        check=False,
    )
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (2, "", 1)
    return done.stderr


@pytest.mark.parametrize("command", ["chat", "transcript"])
def test_the_data_folder_needs_the_extra_and_one_sentence_says_so(
    tmp_path: Path, command: str
) -> None:
    sentence = refused(tmp_path, command)
    assert "--transcript FILE" in sentence
    assert sentence.endswith("pip install '.[chat]'\n")


def test_a_desk_on_fibers_needs_the_extra_and_one_sentence_says_so(tmp_path: Path) -> None:
    arguments = ["--bind", "127.0.0.1:0", "--transcript", ":memory:", "--engine", "fibers"]
    sentence = refused(tmp_path, "chat", *arguments)
    assert sentence.endswith("pip install '.[fibers]'\n")


@pytest.mark.parametrize(
    "command", [["chat", "--transcript", ":memory:"], ["connect", "127.0.0.1:8008"]]
)
def test_a_terminal_needs_the_extra_and_one_sentence_says_so(
    tmp_path: Path, command: list[str]
) -> None:
    with Person([*WITHOUT_EXTRAS, *command], tmp_path, columns=200) as person:
        assert person.leaves() == 2
        assert person.text().startswith("manyhands: ")
        assert person.text().endswith("pip install '.[chat]'")
        assert len(person.text().splitlines()) == 1


@pytest.mark.parametrize("command", ["chat", "connect", "transcript"])
def test_help_needs_no_extra(tmp_path: Path, command: str) -> None:
    output = subprocess.check_output([*WITHOUT_EXTRAS, command, "--help"], text=True)
    assert output.startswith("usage: ")
