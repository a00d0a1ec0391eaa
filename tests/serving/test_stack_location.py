"""Of a stack, the line that tells most."""

from pathlib import Path

import pytest

from manyhands import Server, StreamRequestHandler
from manyhands.serving.stack_location import CodeLocation, chosen
from tests.support import bound, call, read_line

OURS = CodeLocation("finish_request", "/lib/manyhands/base.py", 1)
HANDLER = CodeLocation("Handler.handle", "/home/shop/handlers.py", 12)
HELPER = CodeLocation("query", "/home/shop/db.py", 40)
LIBRARY = CodeLocation("SimpleHTTPRequestHandler.handle", "/lib/http/server.py", 436)
DEEPER = CodeLocation("SocketIO.readinto", "/lib/socket.py", 700)


def choose(*stack: CodeLocation) -> CodeLocation | None:
    return chosen(stack, lambda file: file.startswith("/lib/"), lambda file: "/manyhands/" in file)


def test_it_is_the_innermost_line_of_the_program() -> None:
    assert choose(OURS, HANDLER, HELPER, DEEPER, OURS) == HELPER


def test_of_a_library_s_handler_it_is_the_handler_itself() -> None:
    assert choose(OURS, LIBRARY, DEEPER) == LIBRARY


def test_of_our_own_code_there_is_nothing_to_tell() -> None:
    assert choose(OURS) is None
    assert choose() is None


def test_a_place_is_shown_with_its_path_from_the_folder_on() -> None:
    assert HANDLER.shown("/home/shop") == "Handler.handle, handlers.py:12"
    assert HANDLER.shown("/home/sh") == "Handler.handle, /home/shop/handlers.py:12"


def test_without_a_working_directory_a_handler_is_cut_off_and_named_with_the_whole_path(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, engine: str
) -> None:
    class Endless(StreamRequestHandler):
        def handle(self) -> None:
            self.wfile.write(b"in\n")
            self.rfile.readline()

    folder = tmp_path / "removed"
    folder.mkdir()
    monkeypatch.chdir(folder)
    folder.rmdir()
    server = Server(Endless, "tcp://127.0.0.1:0", engine=engine)
    server.start()
    with call(bound(server)) as peer:
        assert read_line(peer) == b"in\n"
        (cut,) = server.drain(0)
    assert "in process" in cut.doing or __file__ in cut.doing
