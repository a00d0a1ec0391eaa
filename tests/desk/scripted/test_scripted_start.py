"""How a desk is started, with what, and why it is not."""

import re
import resource
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from tests.desk.kit import MANYHANDS, PATIENCE, Caller, Desk, environment


def test_more_callers_than_the_soft_limit_of_descriptors_can_call(
    tmp_path: Path, engine: str
) -> None:
    def lower_the_soft_limit() -> None:
        hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
        resource.setrlimit(resource.RLIMIT_NOFILE, (64, hard))

    with Desk(tmp_path, "--engine", engine, preexec_fn=lower_the_soft_limit) as desk:
        callers = [desk.call() for _ in range(150)]
        desk.shows("^-- 150 .* has called in$")
        for caller in callers:
            caller.socket.close()


def test_a_caller_beyond_the_limit_is_told_so_and_the_operator_too(
    tmp_path: Path, engine: str
) -> None:
    with (
        Desk(tmp_path, "--engine", engine, "--max-connections", "1") as desk,
        desk.takes_a_call() as caller,
        desk.call() as refused,
    ):
        assert refused.hears() == "desk: no more calls are taken just now; please call again later"
        assert refused.hears() == ""
        desk.shows(
            r"^-- .* refused 1 connection from 127.0.0.1:\d+: the server had max_connections"
        )
        caller.says("still here\n")
        desk.shows("still here$")


def test_a_desk_on_a_unix_path_and_on_a_port_at_once(tmp_path: Path, engine: str) -> None:
    path = tmp_path / "desk.sock"
    with (
        Desk(tmp_path, "--engine", engine, "--bind", f"unix://{path}") as desk,
        desk.takes_a_call() as over_tcp,
    ):
        over_tcp.says("over TCP\n")
        desk.shows("over TCP$")
        with Caller(str(path), socket.AF_UNIX) as over_path:
            over_path.says("over a path\n")
            desk.shows(r"^\[2 .*\] over a path$")
            desk.enters("/to 2", "hello")
            assert over_path.hears() == "hello"
        desk.shows("^-- 2 .* has left: hung up$")
        desk.enters("/quit")
        assert desk.ends() == 0
    assert not path.exists()


def test_an_endless_line_on_standard_input_is_a_mistake_and_not_a_memory_hog(
    desk: Desk,
) -> None:
    with desk.call() as caller:
        desk.shows("has called in")
        desk.process.stdin.write(b"hello\n" + b"x" * 1_048_577)
        desk.process.stdin.close()
        assert [caller.hears(), caller.hears()] == ["hello", "desk: the desk is closing"]
        assert desk.ends() == 2
    assert desk.output[-1] == "manyhands: a line of the input is longer than 1048576 bytes"


def test_a_desk_that_is_started_without_any_input_opens_and_closes(tmp_path: Path) -> None:
    command = " ".join([*MANYHANDS, "chat --bind 127.0.0.1:0 --transcript :memory: <&-"])
    done = subprocess.run(
        command, shell=True, capture_output=True, text=True, env=environment(tmp_path), check=True
    )
    assert done.stdout.endswith("the desk is closed\n")
    assert done.stderr == ""


def test_an_output_that_knows_no_chinese_gets_backslashes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTHONIOENCODING", "ascii")
    with Desk(tmp_path) as desk, desk.call() as caller:
        caller.says("你好\n")
        desk.shows(r"\] \\u4f60\\u597d$")
        command = [*MANYHANDS, "transcript", "--transcript", str(tmp_path / "transcript.sqlite")]
        assert rb"\u4f60\u597d" in subprocess.check_output(command, env=environment(tmp_path))


@pytest.mark.parametrize("encoding", ["gbk", "big5", "utf-8", "gbk:strict"])
def test_what_is_piped_is_in_the_encoding_of_the_locale(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, encoding: str
) -> None:
    name = encoding.partition(":")[0]
    monkeypatch.setenv("PYTHONIOENCODING", encoding)
    with subprocess.Popen(
        [*MANYHANDS, "chat", "--bind", "127.0.0.1:0", "--transcript", ":memory:"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env=environment(tmp_path),
    ) as process:
        port = int(re.search(rb"127\.0\.0\.1:(\d+)", process.stdout.readline())[1])
        with Caller(("127.0.0.1", port)) as caller:
            caller.says("你好 😀\n")
            lines = iter(process.stdout.readline, b"")
            said = next(line for line in lines if line.startswith(b"[1"))
            face = "😀" if name == "utf-8" else r"\U0001f600"
            assert said.endswith(f"] 你好 {face}\n".encode(name))
            process.stdin.write("您好\n/quit\n".encode(name))
            process.stdin.flush()
            assert caller.hears() == "您好"
        process.stdin.close()


def refused(tmp_path: Path, *arguments: str) -> str:
    """Run a command that is refused; return the sentence."""
    done = subprocess.run(
        [*MANYHANDS, *arguments],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        env=environment(tmp_path),
        timeout=PATIENCE,
        check=False,
    )
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("manyhands: ")
    assert done.stderr.count("\n") == 1
    return done.stderr


def test_a_port_in_use_is_named_in_one_sentence(desk: Desk, tmp_path: Path) -> None:
    arguments = ["--bind", f"127.0.0.1:{desk.port}", "--transcript", ":memory:"]
    sentence = refused(tmp_path, "chat", *arguments)
    assert f"cannot listen on 127.0.0.1:{desk.port}" in sentence
    assert "in use" in sentence


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        (["--bind", "udp://127.0.0.1:0"], "a desk listens on tcp:// or unix:// addresses"),
        (["--bind", "nonsense"], "'nonsense' is not an address"),
        (["--max-line", "0"], "--max-line must be a whole number"),
        (["--max-line-rate", "0"], "--max-line-rate must be a number per second from"),
        (["--line-burst", "1.5"], "--line-burst must be a whole number"),
        (["--encoding", "utf-16"], "--encoding: the encoding 'utf-16' is not for lines of text"),
        (["--encoding", "klingon"], "--encoding: there is no encoding 'klingon'; there are big5"),
        (["--outbox", "lots"], "--outbox must be a whole number"),
        (["--engine", "processes"], "--engine must be threads or fibers, not 'processes'"),
        (
            ["--transcript", "/proc/none/t.sqlite"],
            "cannot write the transcript /proc/none/t.sqlite",
        ),
        (["--transcript", sys.executable], "cannot write the transcript"),
    ],
)
def test_a_mistake_is_one_sentence(tmp_path: Path, arguments: list[str], why: str) -> None:
    assert why in refused(tmp_path, "chat", *arguments)
