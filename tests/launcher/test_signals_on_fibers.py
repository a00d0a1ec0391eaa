"""Signals, and the end of a program on fibers."""

import signal
from typing import Any

import pytest

from .on_fibers import KINDS, tell


@pytest.mark.parametrize("kind", KINDS)
def test_ctrl_c_reaches_the_program_while_handlers_wait(serve: Any, kind: str) -> None:
    serving = serve(kind)
    with serving.conversation():
        serving.program.send(signal.SIGINT)
        assert serving.program.wait() == -signal.SIGINT
    assert "KeyboardInterrupt" in serving.program.errors()


@pytest.mark.parametrize("thread", [False, True])
def test_ctrl_c_reaches_the_program_s_main_code_while_a_handler_runs(
    serve: Any, thread: bool
) -> None:
    in_a_thread = (
        "threading.Thread(target=server.serve_forever, daemon=True).start(); time.sleep(60)"
    )
    serving = serve(serve=in_a_thread) if thread else serve()
    with serving.conversation() as peer:
        peer.sendall(b"interrupt\n")
        assert serving.program.wait() == -signal.SIGINT


def test_a_signal_handler_that_exits_ends_the_program_while_a_handler_runs(serve: Any) -> None:
    serving = serve(before="signal.signal(signal.SIGTERM, lambda *_: sys.exit(4))")
    with serving.conversation() as peer:
        peer.sendall(b"terminate\n")
        assert serving.program.wait() == 4


def test_a_handler_that_exits_ends_its_own_conversation_only(serve: Any) -> None:
    serving = serve(before="signal.signal(signal.SIGTERM, lambda *_: sys.exit(4))")
    assert serving.says("leave") == ""
    assert serving.says("hello") == "hello"


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGUSR1])
def test_a_signal_handler_can_stop_the_server(serve: Any, number: signal.Signals) -> None:
    serving = serve(
        before=f"signal.signal({int(number)}, lambda *_: SERVER.shutdown())",
        serve="globals().update(SERVER=server); server.serve_forever()",
    )
    assert serving.says("hello") == "hello"
    serving.program.send(number)
    assert serving.program.line() == "over"
    assert serving.program.wait() == 0


def test_a_handler_can_stop_the_server(serve: Any) -> None:
    serving = serve()
    with serving.conversation() as peer:
        assert tell(peer, "stop") == "stopped"
    assert serving.program.line() == "over"


def test_a_program_that_pauses_until_a_signal_lets_its_server_serve(serve: Any) -> None:
    serving = serve(
        before="signal.signal(signal.SIGUSR1, lambda *_: None)",
        serve="threading.Thread(target=server.serve_forever).start(); signal.pause(); server.shutdown()",
    )
    assert serving.says("hello") == "hello"
    serving.program.send(signal.SIGUSR1)
    assert serving.program.line() == "over"
    assert serving.program.wait() == 0
