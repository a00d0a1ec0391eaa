"""`--reload`, for developers: what is written is served, and what is broken is not."""

import signal
from collections.abc import Sequence
from pathlib import Path

import pytest

from manyhands import Server
from manyhands.model.usage_errors import Mistake
from tests.supervisor.command import Shop, serve
from tests.support import Echo, Program, call, everything, wait_until

_PROGRAM = """
from manyhands import Server

def serve(request, client_address, server):
    request.sendall(b"{word}")

if __name__ == "__main__":
    server = Server(serve, "tcp://127.0.0.1:0", workers=1)
    with server.reloading_on_change():
        server.run(lambda: print(server.addresses[0].port, flush=True))
"""


def _said(address: tuple[str, int]) -> bytes:
    with call(address) as peer:
        return everything(peer)


def _reloaded(served: Shop) -> Sequence[str]:
    """Wait for a reload; return which files have changed, as the log tells."""
    heard = served.hear_until("Reloaded")
    return [file for each in heard if each["event"] == "ProgramChanged" for file in each["files"]]


def test_what_is_written_is_served_by_one_worker_and_the_log_says_what_it_was(
    tmp_path: Path,
) -> None:
    served = Shop(tmp_path, "--reload", workers=0)
    with served.program:
        served.until_it_serves()
        assert served.word() == "one"
        assert [each["number"] for each in served.workers()] == [1]
        served.write("two")
        assert _reloaded(served) == ["shop.py"]
        assert served.word() == "two"


def test_code_that_is_broken_leaves_the_old_one_and_the_next_save_heals(tmp_path: Path) -> None:
    served = Shop(tmp_path, "--reload")
    with served.program:
        served.until_it_serves()
        served.write("two", first="def broken(:")
        assert "SyntaxError" in served.hear("NotReloaded")["why"]
        assert served.word() == "one"
        served.write("three")
        assert _reloaded(served) == ["shop.py"]
        assert served.word() == "three"


def test_what_a_new_version_imports_is_watched_too_even_while_that_is_broken(
    tmp_path: Path,
) -> None:
    served = Shop(tmp_path, "--reload")
    package = tmp_path / "parts" / "inner"
    package.mkdir(parents=True)
    (package / "__init__.py").touch()
    (package / "words.py").write_text("WORD = ")
    with served.program:
        served.until_it_serves()
        served.write("two", first="import parts.inner.words")
        assert "SyntaxError" in served.hear("NotReloaded")["why"]
        (package / "words.py").write_text("WORD = 1")
        assert _reloaded(served) == ["parts/inner/words.py"]
        assert served.word() == "two"


def test_a_command_that_ends_leaves_nothing_behind(tmp_path: Path) -> None:
    served = Shop(tmp_path, "--reload")
    with served.program:
        served.until_it_serves()
        served.program.send(signal.SIGTERM)
        assert (served.program.wait(), served.program.errors()) == (0, "")


def test_a_program_may_reload_on_change_by_itself(tmp_path: Path) -> None:
    program = tmp_path / "program.py"
    program.write_text(_PROGRAM.format(word="one"))
    with Program([str(program)], tmp_path) as running:
        address = ("127.0.0.1", int(running.line()))
        assert _said(address) == b"one"
        program.write_text(_PROGRAM.format(word="two"))
        wait_until(lambda: _said(address) == b"two")


def test_without_workers_a_program_is_told_what_to_do() -> None:
    server = Server(Echo, "tcp://127.0.0.1:0")
    with pytest.raises(Mistake, match="give workers=1"), server.reloading_on_change():
        pass
    with (
        Server(Echo, "tcp://127.0.0.1:0", workers=1) as serving,
        pytest.raises(Mistake, match="listens already"),
        serving.reloading_on_change(),
    ):
        pass


def test_without_the_extra_it_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "shop.py").write_text("class Echo: pass")
    (tmp_path / "watchfiles.py").write_text("raise ImportError")
    with Program(serve(tmp_path, "--reload"), tmp_path) as program:
        assert program.wait() == 2
        assert "--reload needs watchfiles, which is not here: pip install" in program.errors()
