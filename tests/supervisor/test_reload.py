"""New code, and nobody dropped; code that does not do, and nothing changed."""

import os
import re
import signal
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Self

import pytest

from manyhands.control.client import Client, Refused
from tests.supervisor.command import Shop, is_there, serve, shop
from tests.supervisor.kit import ENGINES
from tests.support import (
    Authority,
    Program,
    call,
    everything,
    host_names_shown,
    replace,
    wait_until,
)
from tests.support.processes import children_of
from tests.support.waiting import PATIENCE


class _Crowd:
    """Clients that connect, ask and leave, one after the other in each thread."""

    def __init__(self, served: Shop, threads: int = 3) -> None:
        self._served = served
        self._is_over = threading.Event()
        self.words: list[str] = []
        self.errors: list[BaseException] = []
        self._threads = [threading.Thread(target=self._call) for _ in range(threads)]

    def _call(self) -> None:
        while not self._is_over.is_set():
            try:
                self.words.append(self._served.word())
            except BaseException as error:  # noqa: BLE001 - the test tells of it
                self.errors.append(error)
                return

    def until_answered_by(self, word: str) -> None:
        """Wait until the last answers are of this code alone."""
        count = len(self.words)
        wait_until(lambda: self.errors or len(self.words) >= count + 20)
        # A client that is slow may come with its answer later than the others.
        wait_until(lambda: self.errors or set(self.words[-3:]) == {word})

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        wait_until(lambda: len(self.words) > 10)
        return self

    def __exit__(self, *_: object) -> None:
        self._is_over.set()
        for thread in self._threads:
            thread.join()


@contextmanager
def _nobody_is_dropped(served: Shop) -> Iterator[_Crowd]:
    with _Crowd(served) as crowd:
        yield crowd
    assert not crowd.errors


def _generations(served: Shop) -> list[int]:
    return sorted({each["generation"] for each in served.workers()})


@pytest.mark.parametrize("engine", [*ENGINES, "sequential"])
def test_new_code_comes_by_sighup_and_by_an_operator_and_nobody_is_dropped(
    engine: str, tmp_path: Path
) -> None:
    with shop(tmp_path, "--engine", engine) as served, _nobody_is_dropped(served) as crowd:
        served.write("two")
        served.program.send(signal.SIGHUP)
        assert served.hear("Reloaded")["generation"] == 2
        crowd.until_answered_by("two")
        served.write("three")
        assert served.reload()["generation"] == 3
        crowd.until_answered_by("three")


@pytest.mark.parametrize("engine", ENGINES)
def test_a_long_connection_is_drained(engine: str, tmp_path: Path) -> None:
    with shop(tmp_path, "--engine", engine, "--drain-timeout", "60") as served:
        with served.call() as held, served.call() as idle:
            held.hold()
            assert idle.word() == "one"
            served.write("two")
            served.reload()
            # One that waits for its client has read to the end; the other goes on.
            assert idle.end() == b""
            assert held.is_held()
            assert _generations(served) == [1, 2]
        wait_until(lambda: _generations(served) == [2])


@pytest.mark.parametrize("engine", ENGINES)
def test_what_a_reload_cuts_off_is_told_then_and_not_at_the_end(
    engine: str, tmp_path: Path
) -> None:
    with shop(tmp_path, "--engine", engine, "--drain-timeout", "0.5") as served:
        with served.call() as held:
            held.hold()
            before = {each["pid"] for each in served.workers()}
            served.write("two")
            served.reload()
            told = served.hear("WorkerCutOff")
        assert told["pid"] in before
        assert (told["generation"], told["count"]) == (1, 1)
        assert re.match(r"#\d+ 127\.0\.0\.1:\d+, ", told["connections"])
        served.program.send(signal.SIGTERM)
        assert served.program.wait() == 0
        assert "cut off" not in served.program.errors()


@pytest.mark.parametrize("engine", ENGINES)
def test_connections_may_stay_to_their_own_end(engine: str, tmp_path: Path) -> None:
    flags = ("--reload-drain", "stay", "--max-generations", "2")
    with shop(tmp_path, "--engine", engine, *flags) as served:
        with served.call() as first:
            assert first.word() == "one"
            served.write("two")
            served.reload()
            with served.call() as second:
                assert (first.word(), second.word()) == ("one", "two")
                served.write("three")
                served.reload()
                # Two generations at once, so the oldest is drained.
                assert first.end() == b""
                assert (second.word(), served.word()) == ("two", "three")
                wait_until(lambda: _generations(served) == [2, 3])
        wait_until(lambda: _generations(served) == [3])


BROKEN: dict[str, tuple[str | None, str]] = {
    "a syntax error": ("def broken(:", "SyntaxError"),
    "an exception": ("raise ValueError('no stock')", "ValueError: no stock"),
    "an exit": ("raise SystemExit('closed')", "SystemExit: closed"),
    "the end of the process": ("os._exit(7)", "ended before it served, with the status 7"),
    "a signal": ("os.kill(os.getpid(), 9)", "ended before it served, with signal 9"),
    "an import that hangs": ("time.sleep(600)", "did not come up within start_timeout (10 s)"),
    "a worker that dies": (
        "os.register_at_fork(after_in_child=lambda: os._exit(5))",
        "ended before it served, with the status 5",
    ),
    "no handler": (None, "shop has no Echo"),
}


def _patience_with(how: str) -> list[str]:
    # Time enough for what is to come up to do so, on a busy machine too.
    return ["--start-timeout", "10"] if how == "an import that hangs" else []


@pytest.mark.parametrize("how", BROKEN)
def test_what_does_not_do_leaves_all_as_it_was_and_says_why_in_a_sentence(
    how: str, tmp_path: Path
) -> None:
    first, why = BROKEN[how]
    with shop(tmp_path, *_patience_with(how)) as served, served.call() as before:
        assert before.word() == "one"
        processes = set(served.processes())
        served.write("two", first=first)
        with pytest.raises(Refused) as refused:
            served.reload()
        assert why in str(refused.value)
        assert "\n" not in str(refused.value)
        assert why in served.hear("NotReloaded")["why"]
        assert before.word() == served.word() == "one"
        wait_until(lambda: set(served.processes()) == processes)
        served.write("three")
        assert served.reload()["generation"] == 3
        assert served.word() == "three"


def test_ctl_says_why_and_fails(tmp_path: Path) -> None:
    with shop(tmp_path) as served:
        words = ["-m", "manyhands", "ctl", "--control", served.place, "reload"]
        served.write("two", first="raise ValueError('no stock')")
        with Program(words, tmp_path) as ctl:
            assert ctl.wait() == 1
            [line] = ctl.errors().splitlines()
            assert line.startswith("manyhands: ")
            assert "ValueError: no stock" in line
        served.write("three")
        with Program(words, tmp_path) as ctl:
            assert ctl.wait() == 0
            assert "generation 3" in ctl.line()


def test_reloads_that_are_asked_for_during_one_are_one_of_what_is_on_disk_then(
    tmp_path: Path,
) -> None:
    with shop(tmp_path) as served, _nobody_is_dropped(served) as crowd:
        begun = tmp_path / "begun"
        served.write("two", first=f"open({str(begun)!r}, 'w').close(); time.sleep(0.5)")
        asked = [threading.Thread(target=served.reload) for _ in range(4)]
        for each in asked:
            each.start()
        wait_until(begun.exists)
        served.write("three")
        served.program.send(signal.SIGHUP)
        for each in asked:
            each.join()
        assert [served.hear("Reloaded")["generation"] for _ in range(2)] == [2, 3]
        crowd.until_answered_by("three")
        assert served.reload()["generation"] == 4


def test_while_it_drains_it_does_not_reload_and_says_so(tmp_path: Path) -> None:
    with shop(tmp_path, "--drain-timeout", "60") as served, served.call() as held:
        held.hold()
        served.program.send(signal.SIGTERM)
        served.hear("Draining")
        with pytest.raises(Refused, match="the server is stopping"):
            served.reload()
        held.close()
        assert served.program.wait() == 0


def test_workers_are_replaced_and_scaled_and_nobody_is_dropped(tmp_path: Path) -> None:
    with shop(tmp_path) as served, _nobody_is_dropped(served):
        before = {each["pid"] for each in served.workers()}
        served.do("workers.restart")
        wait_until(lambda: not before & {each["pid"] for each in served.workers()})
        served.do("workers.scale", count=4)
        wait_until(lambda: _states(served) == ["serving"] * 4)
        served.do("workers.scale", count=1)
        wait_until(lambda: _states(served) == ["serving"])
        served.write("two")
        served.reload()
        wait_until(lambda: _states(served) == ["serving"])


def _states(served: Shop) -> list[str]:
    return [each["state"] for each in served.workers()]


@pytest.mark.parametrize("how", ["a syntax error", "an import that hangs", "a worker that dies"])
def test_a_first_start_that_fails_is_a_sentence_and_leaves_nothing(
    how: str, tmp_path: Path
) -> None:
    first, why = BROKEN[how]
    served = Shop(tmp_path, *_patience_with(how), first=first)
    with served.program as program:
        wait_until(lambda: not program.is_running() or bool(children_of(program.pid)))
        processes = children_of(program.pid)
        assert program.wait() == 3
        errors = program.errors()
        [line] = errors.splitlines()
        assert "the workers cannot serve: " in line
        assert why in line
        wait_until(lambda: not any(map(is_there, processes)))
    assert sorted(each.name for each in tmp_path.iterdir() if each.is_socket()) == []


def test_a_first_start_without_a_handler_is_a_sentence(tmp_path: Path) -> None:
    with Program([*serve(tmp_path), "--workers", "2"], tmp_path) as program:
        assert program.wait() == 3
        [line] = program.errors().splitlines()
        assert "there is no module shop" in line


def _shown(authority: Authority, address: tuple[str, int]) -> list[str]:
    """Return the host names of the certificate that a new client is shown."""
    context = authority.client_context()
    with (
        socket.create_connection(address, PATIENCE) as plain,
        context.wrap_socket(plain, server_hostname="localhost") as client,
    ):
        return host_names_shown(client)


def test_new_certificates_have_a_new_generation_by_themselves(
    authority: Authority, tmp_path: Path
) -> None:
    certfile, keyfile = authority.write(tmp_path, "localhost")
    flags = ("--bind", "tls://127.0.0.1:0", "--certfile", certfile, "--keyfile", keyfile)
    with shop(tmp_path, *flags) as served:
        secret = ("127.0.0.1", int(served.program.line().rpartition(":")[2]))
        authority.write(tmp_path, "localhost", "example.org")
        assert served.hear("Reloaded")["generation"] == 2
        assert _shown(authority, secret) == ["localhost", "example.org"]


def test_a_certificate_that_cannot_be_used_leaves_all_as_it_was(
    authority: Authority, tmp_path: Path
) -> None:
    certfile, keyfile = authority.write(tmp_path, "localhost")
    flags = ("--bind", "tls://127.0.0.1:0", "--certfile", certfile, "--keyfile", keyfile)
    with shop(tmp_path, *flags) as served:
        secret = ("127.0.0.1", int(served.program.line().rpartition(":")[2]))
        assert _shown(authority, secret) == ["localhost"]
        replace(Path(certfile), b"none")
        with pytest.raises(Refused) as refused:
            served.reload()
        assert certfile in str(refused.value)
        assert "\n" not in str(refused.value)
        assert _shown(authority, secret) == ["localhost"]
        assert _generations(served) == [1]
        authority.write(tmp_path, "localhost", "example.org")
        assert served.reload()["generation"] >= 2
        wait_until(lambda: _shown(authority, secret) == ["localhost", "example.org"])


@pytest.mark.parametrize("engine", ENGINES)
def test_a_worker_that_is_asked_to_end_drains_and_is_replaced_and_nobody_is_dropped(
    engine: str, tmp_path: Path
) -> None:
    with shop(tmp_path, "--engine", engine) as served, _nobody_is_dropped(served) as crowd:
        victim = served.workers()[0]["pid"]
        os.kill(victim, signal.SIGTERM)
        wait_until(lambda: victim not in [each["pid"] for each in served.workers()])
        wait_until(lambda: _states(served) == ["serving"] * 2)
        crowd.until_answered_by("one")
        served.program.send(signal.SIGUSR1)
        told = served.hear_until("StacksFollow")
        # Nothing else was told but stacks: a worker may write one before the supervisor writes its line.
        assert {each["event"] for each in told} <= {"StacksFollow", "HandlerStack"}


_PROGRAM = """
from manyhands import Server

def serve(request, client_address, server):
    request.sendall(b"{word}")

if __name__ == "__main__":
    {first}
    server = Server(serve, "tcp://127.0.0.1:0", workers=2, control={place!r})
    server.run(lambda: print(server.addresses[0].port, flush=True))
    print("the end of", "a worker" if server.is_worker else "all", flush=True)
"""


def test_a_program_is_started_once_more_up_to_its_run(tmp_path: Path) -> None:
    program, place = tmp_path / "program.py", str(tmp_path / "control")

    def write(word: str, first: str = "pass") -> None:
        program.write_text(_PROGRAM.format(word=word, first=first, place=place))

    write("one")
    with Program([str(program)], tmp_path) as running:
        address = ("127.0.0.1", int(running.line()))
        assert _said(address) == b"one"
        write("two", first="raise ValueError('no stock')")
        with Client(place) as operator:
            with pytest.raises(Refused, match="ended before it served, with the status 1"):
                operator.call("reload")
            assert _said(address) == b"one"
            write("three")
            assert operator.call("reload")["generation"] == 3
        assert _said(address) == b"three"
        running.send(signal.SIGTERM)
        assert running.wait() == 0
        # In what was started once more `run` returns; a copy of the first process ends in it.
        assert sorted(running.lines_left()) == ["the end of a worker"] * 2 + ["the end of all"]
        assert running.errors().count("ValueError: no stock") == 1


def _said(address: tuple[str, int]) -> bytes:
    with call(address) as peer:
        return everything(peer)
