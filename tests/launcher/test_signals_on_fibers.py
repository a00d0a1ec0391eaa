"""Signals, and the end of a program on fibers."""

import signal
import textwrap
from pathlib import Path
from typing import Any

import pytest

from .launch import RUN, python, write
from .on_fibers import KINDS, ON_FIBERS, tell


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


class TestWhatASignalHandlerRaises:
    """Plain threads have it in the main code, and so have fibers."""

    HANDLERS = """
import signal, threading, time
class Alarm(Exception): pass
def alarm(number, frame):
    while frame.f_code.co_name != "main" and frame.f_back: frame = frame.f_back
    seen.append(frame.f_code.co_name)
    raise Alarm(number)
seen = []
"""

    @pytest.fixture(params=[RUN, ON_FIBERS], ids=["threads", "fibers"])
    def run(self, request: pytest.FixtureRequest, tmp_path: Path) -> Any:
        def run(program: str) -> str:
            write(tmp_path / "program.py", self.HANDLERS + textwrap.dedent(program))
            finished = python(*request.param, "program.py", cwd=tmp_path)
            assert finished.status == 0, finished.errors
            return finished.output

        return run

    def test_an_alarm_is_raised_where_the_main_code_waits(self, run: Any) -> None:
        program = """
            signal.signal(signal.SIGALRM, alarm)
            def main():
                signal.setitimer(signal.ITIMER_REAL, 0.1)
                try: time.sleep(10)
                except Alarm as error: print("alarm", error, seen)
            main()
        """
        assert run(program) == f"alarm {int(signal.SIGALRM)} ['main']\n"

    def test_a_thread_that_catches_everything_does_not_catch_it(self, run: Any) -> None:
        # The thread computes whenever it does not wait, so most signals come while it does.
        program = """
            caught, is_over = [], False
            def work():
                while not is_over:
                    try:
                        sum(range(20_000)); time.sleep(0)
                    except BaseException as error: caught.append(error)
            def main():
                thread = threading.Thread(target=work); thread.start()
                for _ in range(20):
                    signal.setitimer(signal.ITIMER_REAL, 0.005)
                    try: time.sleep(10)
                    except Alarm: pass
                return thread
            signal.signal(signal.SIGALRM, alarm)
            thread = main(); is_over = True; thread.join()
            print(len(seen), set(seen), caught)
        """
        assert run(program) == "20 {'main'} []\n"

    def test_a_thread_that_computes_gets_to_finish(self, run: Any) -> None:
        program = """
            done = []
            def work():
                started.set()
                for _ in range(30): sum(range(50_000))
                done.append("computed")
            started = threading.Event()
            def main():
                thread = threading.Thread(target=work); thread.start(); started.wait()
                signal.raise_signal(signal.SIGINT)
            try: main()
            except KeyboardInterrupt: print("interrupted")
            for thread in threading.enumerate():
                if thread is not threading.current_thread(): thread.join()
            print(done)
        """
        assert run(program) == "interrupted\n['computed']\n"

    def test_the_program_finds_its_own_handlers(self, run: Any) -> None:
        program = """
            print(signal.getsignal(signal.SIGINT) is signal.default_int_handler)
            print(signal.signal(signal.SIGUSR1, alarm), signal.getsignal(signal.SIGUSR1) is alarm)
            print(signal.signal(signal.SIGUSR1, signal.SIG_IGN) is alarm, signal.getsignal(signal.SIGUSR1))
            print(signal.signal(signal.SIGCHLD, alarm), signal.getsignal(signal.SIGCHLD) is alarm)
            try: signal.signal(signal.SIGUSR1, "no handler")
            except TypeError: print("TypeError")
        """
        default, ignore = str(signal.SIG_DFL), str(signal.SIG_IGN)
        assert run(program).split() == [
            "True", default, "True", "True", ignore, default, "True", "TypeError",
        ]  # fmt: skip

    def test_a_handler_that_a_handler_of_another_signal_sets_counts(self, run: Any) -> None:
        program = """
            def later(number, frame): signal.signal(signal.SIGALRM, alarm)
            signal.signal(signal.SIGUSR1, later)
            signal.raise_signal(signal.SIGUSR1)
            signal.setitimer(signal.ITIMER_REAL, 0.05)
            try: time.sleep(10)
            except Alarm: print("alarm")
        """
        assert run(program) == "alarm\n"

    def test_the_copy_of_a_thread_that_forks_gets_it_in_its_own_code(self, run: Any) -> None:
        program = """
            import os
            signal.signal(signal.SIGALRM, alarm)
            def fork():
                pid = os.fork()
                if pid == 0:
                    signal.setitimer(signal.ITIMER_REAL, 0.1)
                    try: time.sleep(10)
                    except Alarm: os._exit(7)
                    os._exit(1)
                statuses.append(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
            statuses = []
            thread = threading.Thread(target=fork); thread.start(); thread.join()
            print(statuses)
        """
        assert run(program) == "[7]\n"


BARE_EXCEPT = """
def careless(self):
    try:
        while True:
            sum(range(20_000)); time.sleep(0)
    except:
        print("swallowed", flush=True)
Handler.work = careless
"""


def test_a_bare_except_of_a_handler_does_not_swallow_ctrl_c(serve: Any) -> None:
    serving = serve(before=f"exec({BARE_EXCEPT!r}, globals())")
    with serving.conversation() as peer:
        peer.sendall(b"work\n")
        serving.program.send(signal.SIGINT)
        assert serving.program.wait() == -signal.SIGINT
        assert serving.program.lines_left() == []


STOPS = {
    "at once": "SERVER.shutdown()",
    "in a thread": "threading.Thread(target=SERVER.shutdown).start()",
    "when a thread is over": "(t := threading.Thread(target=int)).start(), t.join(), SERVER.shutdown()",
    "after a program": "(__import__('subprocess').run(['true']), SERVER.shutdown())",
}


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGUSR1])
@pytest.mark.parametrize("stop", STOPS)
def test_a_signal_handler_can_stop_the_server(
    serve: Any, number: signal.Signals, stop: str
) -> None:
    serving = serve(
        before=f"signal.signal({int(number)}, lambda *_: ({STOPS[stop]}))",
        serve="globals().update(SERVER=server); server.serve_forever()",
    )
    assert serving.says("hello") == "hello"
    serving.program.send(number)
    assert serving.program.line() == "over"
    assert serving.program.wait() == 0


def test_what_a_signal_handler_raises_after_a_wait_is_raised_in_the_main_code(serve: Any) -> None:
    serving = serve(
        before="signal.signal(signal.SIGTERM, lambda *_: (time.sleep(0.05), sys.exit(7)))"
    )
    assert serving.says("hello") == "hello"
    serving.program.send(signal.SIGTERM)
    assert serving.program.wait() == 7


def test_a_handler_can_stop_the_server(serve: Any) -> None:
    serving = serve()
    with serving.conversation() as peer:
        assert tell(peer, "stop") == "stopped"
    assert serving.program.line() == "over"


def test_a_program_that_pauses_until_a_signal_lets_its_server_serve(serve: Any) -> None:
    serving = serve(
        before="signal.signal(signal.SIGUSR1, lambda *_: print('heard'))",
        serve="threading.Thread(target=server.serve_forever).start(); signal.pause(); print('paused');"
        "server.shutdown()",
    )
    assert serving.says("hello") == "hello"
    serving.program.send(signal.SIGUSR1)
    assert [serving.program.line() for _ in range(3)] == ["heard", "paused", "over"]
    assert serving.program.wait() == 0


INTERRUPTED = """
import gevent.thread
take, armed, Server = gevent.thread.LockType.acquire, [], socketserver.ForkingTCPServer
def interrupted(self, *arguments):
    taken = take(self, *arguments)
    if armed:
        signal.raise_signal(signal.SIGINT)
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
