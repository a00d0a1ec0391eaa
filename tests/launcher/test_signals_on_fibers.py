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
    # What Python itself says of it, and nothing before.
    first, *_, last = serving.program.errors().splitlines()
    assert (first, last) == ("Traceback (most recent call last):", "KeyboardInterrupt")


def test_a_program_that_expects_ctrl_c_says_nothing_of_it(serve: Any) -> None:
    serving = serve(
        serve="try: server.serve_forever()\n        except KeyboardInterrupt: pass",
    )
    with serving.conversation():
        serving.program.send(signal.SIGINT)
        assert serving.program.line() == "over"
        assert (serving.program.wait(), serving.program.errors()) == (0, "")


def test_what_else_fails_in_a_fiber_is_told_as_gevent_tells_it(serve: Any) -> None:
    serving = serve(before="import gevent; gevent.spawn(lambda: 1 / 0)")
    assert serving.says("hello") == "hello"
    serving.program.send(signal.SIGINT)
    serving.program.wait()
    assert "ZeroDivisionError" in serving.program.errors()


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


INTERRUPTED = """
import gevent.thread
take, armed, Server = gevent.thread.LockType.acquire, [], socketserver.ForkingTCPServer
def interrupted(self, *arguments):
    taken = take(self, *arguments)
    if armed:
        raise KeyboardInterrupt
    return taken
def turn(self):
    self.collect_children()
    print("turned", flush=True) if armed else None
Handler.arm = lambda self: armed.append(True) or "armed"
gevent.thread.LockType.acquire, Server.service_actions = interrupted, turn
"""


def test_ctrl_c_while_the_loop_takes_a_lock_does_not_leave_it_taken(serve: Any) -> None:
    before = f"exec({INTERRUPTED!r}, globals())"
    serving = serve("ForkingTCPServer", before=before, serve="server.serve_forever(0.01)")
    with serving.conversation() as peer:
        # From now on a signal comes whenever a lock of gevent's has just been taken.
        assert tell(peer, "arm") == "armed"
        assert serving.program.line() == "turned"
        serving.program.send(signal.SIGINT)
        assert serving.program.wait() == -signal.SIGINT


def test_a_look_into_the_backlog_leaves_no_timeout_for_a_signal_to_forget(serve: Any) -> None:
    serving = serve(before="import select; select.poll = None")
    assert serving.says("hello") == "hello"
