"""The frame of the command line, as a person's shell sees it."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

import manyhands
from manyhands.cli import COMMANDS, main
from manyhands.cli.run import split

HOME = Path(manyhands.__file__).parents[1]
ENVIRONMENT = {**os.environ, "PYTHONPATH": str(HOME)}
# Unbuffered, every write would fail by itself, and argparse passes over that.
ENVIRONMENT.pop("PYTHONUNBUFFERED", None)


def manyhands_says(*words: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, "-m", "manyhands", *words],
        env=ENVIRONMENT,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_the_version_is_said() -> None:
    answer = manyhands_says("--version")
    assert (answer.returncode, answer.stdout) == (0, f"manyhands {manyhands.__version__}\n")


def test_help_lists_every_command_with_one_line() -> None:
    answer = manyhands_says("--help")
    assert answer.returncode == 0
    listed = answer.stdout.partition("commands:\n")[2].splitlines()[: len(COMMANDS)]
    assert [line.split()[0] for line in listed] == [
        *("serve", "run", "chat", "connect", "ctl", "top", "web", "transcript")
    ]
    assert all(len(line.split()) > 2 for line in listed)


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_help_that_names_how_it_was_called(command: str) -> None:
    answer = manyhands_says(command, "--help")
    assert answer.returncode == 0
    assert answer.stdout.startswith(f"usage: python -m manyhands {command} ")


NO_COMMAND = f"there is no command {{!r}}, only {', '.join(COMMANDS)}"


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (
            (),
            f"say what to do, one of {', '.join(COMMANDS)} (see manyhands --help)",
        ),
        (("srve", "x"), f"{NO_COMMAND.format('srve')}; did you mean serve?"),
        (("Connect",), f"{NO_COMMAND.format('Connect')}; did you mean connect?"),
        (("help",), f"{NO_COMMAND.format('help')} (see manyhands --help)"),
        (("--verbose",), "unrecognized arguments: --verbose (see python -m manyhands --help)"),
        (("--ver",), "unrecognized arguments: --ver (see python -m manyhands --help)"),
        *(
            ((command, *words), f"{sentence} (see python -m manyhands {command} --help)")
            for command, *words, sentence in [
                ("chat", "--bnid", "x", "unrecognized arguments: --bnid; did you mean --bind?"),
                ("chat", "--port=1", "unrecognized arguments: --port=1; did you mean --bind?"),
                ("chat", "8008", "unrecognized arguments: 8008; --bind says where to listen"),
                (
                    *("connect", "localhost", "8008"),
                    "unrecognized arguments: 8008; an address is one word, HOST:PORT",
                ),
                (
                    *("transcript", "--file", "x"),
                    "unrecognized arguments: --file; did you mean --transcript?",
                ),
                (
                    *("serve", "x:Y", "--idle-timout", "3"),
                    "unrecognized arguments: --idle-timout; did you mean --idle-timeout?",
                ),
                ("serve", "--zzz", "unrecognized arguments: --zzz"),
                ("run", "--engin", "x", "unrecognized arguments: --engin; did you mean --engine?"),
                # An option of `serve`, where it is right.
                ("run", "--keyfile", "x", "unrecognized arguments: --keyfile"),
            ]
        ),
    ],
)
def test_a_mistake_gets_one_sentence(words: tuple[str, ...], sentence: str) -> None:
    answer = manyhands_says(*words)
    assert (answer.returncode, answer.stderr) == (2, f"manyhands: {sentence}\n")
    assert answer.stdout == ""


def test_the_installed_script_is_called_manyhands(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["/somewhere/bin/manyhands", "run", "--help"])
    with pytest.raises(SystemExit) as left:
        main()
    assert left.value.code == 0
    assert capsys.readouterr().out.startswith("usage: manyhands run [options] PROGRAM [args]\n")


@pytest.mark.parametrize("words", [["--help"], ["--version"], ["run", "--help"]])
def test_a_reader_that_has_gone_is_no_matter_for_a_traceback(words: list[str]) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    answer = subprocess.run(
        [sys.executable, "-m", "manyhands", *words],
        env=ENVIRONMENT,
        stdout=writing,
        stderr=subprocess.PIPE,
        timeout=60,
        check=False,
    )
    os.close(writing)
    assert (answer.returncode, answer.stderr) == (128 + signal.SIGPIPE, b"")


def test_standard_output_that_is_closed_is_no_matter_for_a_traceback() -> None:
    command = f"{sys.executable} -m manyhands run missing.py >&-"
    answer = subprocess.run(
        command, shell=True, env=ENVIRONMENT, stderr=subprocess.PIPE, timeout=60, check=False
    )
    assert answer.stderr == b"manyhands: there is no program 'missing.py'\n"


@pytest.mark.parametrize("words", [["--help"], ["--version"], ["serve", "--help"]])
def test_an_output_on_a_full_disk_is_one_sentence(words: list[str]) -> None:
    with Path("/dev/full").open("wb") as full:
        answer = subprocess.run(
            [sys.executable, "-m", "manyhands", *words],
            env=ENVIRONMENT,
            stdout=full,
            stderr=subprocess.PIPE,
            timeout=60,
            check=False,
        )
    sentence = b"manyhands: the output cannot be written: No space left on device\n"
    assert (answer.returncode, answer.stderr) == (1, sentence)


@pytest.mark.parametrize("command", COMMANDS)
def test_a_folder_that_has_been_deleted_is_one_sentence(
    command: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    folder = tmp_path / "gone"
    folder.mkdir()
    monkeypatch.chdir(folder)
    folder.rmdir()
    assert main([command, "something"]) == 2
    sentence = "manyhands: the current folder has been deleted: change to another one\n"
    assert capsys.readouterr().err == sentence


def test_a_mistake_stays_on_one_line_whatever_it_quotes(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["run", "no\nprogram\x1b[31m"]) == 2
    errors = capsys.readouterr().err
    assert errors.count("\n") == 1
    assert "\x1b" not in errors


INTERRUPTED = """
import sys
from manyhands import cli
from manyhands.cli import run

def interrupted(arguments):
    raise KeyboardInterrupt

run.run = interrupted
sys.exit(cli.main(["run", "x"]))
"""


def test_control_c_ends_a_command_without_a_traceback() -> None:
    answer = subprocess.run(
        [sys.executable, "-c", INTERRUPTED],
        env=ENVIRONMENT,
        capture_output=True,
        timeout=60,
        check=False,
    )
    assert (answer.returncode, answer.stderr) == (128 + signal.SIGINT, b"")


@pytest.mark.parametrize(
    ("words", "ours", "theirs"),
    [
        ("", "", ""),
        ("prog.py --help", "", "prog.py --help"),
        ("--max-threads 5 prog.py 6", "--max-threads 5", "prog.py 6"),
        ("--max-threads=5 prog.py", "--max-threads=5", "prog.py"),
        ("--allow-reuse-port prog.py", "--allow-reuse-port", "prog.py"),
        ("--no-allow-reuse-port -m mod -- a", "--no-allow-reuse-port", "-m mod -- a"),
        ("-mmod --max-threads 5", "", "-mmod --max-threads 5"),
        ("--engine threads -- -p.py", "--engine threads", "-- -p.py"),
        ("--max-threads", "--max-threads", ""),
        ("--help prog.py", "--help", "prog.py"),
        ("- a", "", "- a"),
    ],
)
def test_what_follows_the_program_belongs_to_it(words: str, ours: str, theirs: str) -> None:
    assert split(words.split()) == (ours.split(), theirs.split())
