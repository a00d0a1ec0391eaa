"""Processes that a program on fibers makes, and its copies."""

import os
import signal
from pathlib import Path
from typing import Any

from tests.support import everything, wait_until

from .launch import python, write
from .on_fibers import ON_FIBERS, PATCHED


def test_a_copy_that_a_handler_forks_has_no_fiber_but_its_own(serve: Any, tmp_path: Path) -> None:
    # Else what sleeps in the original wakes up in the copy too, and answers its client twice.
    record = tmp_path / "woken"
    ticking = (
        f"t = threading.Thread(target=lambda: [(time.sleep(0.01), open({str(record)!r}, 'a')"
        ".write(f'{os.getpid()}\\n')) for _ in range(10**6)], daemon=True); t.start()"
    )
    serving = serve(before=ticking)
    wait_until(record.exists)
    assert serving.says("fork") == "7"
    assert set(record.read_text().split()) == {str(serving.program.pid)}


def test_a_copy_that_leaves_its_handler_ends_there(serve: Any) -> None:
    serving = serve()
    with serving.conversation() as peer:
        peer.sendall(b"careless\n")
        everything(peer)  # until the copy, or the original, has hung up
    wait_until(lambda: serving.says("ended") == "0")
    assert serving.program.is_running()


MULTIPROCESSING = """
import multiprocessing, os, threading, time
from concurrent.futures import ProcessPoolExecutor

def twice(number):
    import socket
    return 2 * number, socket.socket.__module__

def ask(method):
    context = multiprocessing.get_context(method)
    with context.Pool(2) as pool:
        print(sorted(pool.map(twice, range(3))), pool.apply(len, (b"x" * 300_000,)), flush=True)

if __name__ == "__main__":
    # In a thread, as a handler would, while another one ticks.
    ticks = []
    ticking = threading.Thread(target=lambda: [(time.sleep(0.01), ticks.append(1)) for _ in range(10**6)])
    ticking.daemon = True
    ticking.start()
    for method in ("fork", "spawn", "forkserver"):
        asking = threading.Thread(target=ask, args=(method,))
        asking.start()
        asking.join()
    with ProcessPoolExecutor(1) as executor:
        print(executor.submit(os.getpid).result() != os.getpid())
    with multiprocessing.Manager() as manager:
        shared = manager.dict(a=1)
        print(dict(shared))
    print(len(ticks) > 3)
"""


def test_the_processes_of_multiprocessing_work_and_are_waited_for_while_others_run(
    tmp_path: Path,
) -> None:
    write(tmp_path / "pools.py", MULTIPROCESSING)
    ours = python(*ON_FIBERS, "pools.py", cwd=tmp_path)
    doubled = [(2 * number, "gevent._socket3") for number in range(3)]
    assert ours.output.splitlines() == [f"{doubled} 300000"] * 3 + ["True", "{'a': 1}", "True"], (
        ours.errors
    )


def test_the_processes_of_subprocess_work(tmp_path: Path) -> None:
    write(
        tmp_path / "parent.py",
        "import subprocess, sys\n"
        f"print(subprocess.check_output([sys.executable, '-c', {PATCHED!r}], text=True), end='')\n",
    )
    assert python(*ON_FIBERS, "parent.py", cwd=tmp_path).output == "gevent._socket3\n"


def test_a_program_that_waits_for_any_child_lets_its_server_serve(serve: Any) -> None:
    serving = serve(
        serve="threading.Thread(target=server.serve_forever).start(); "
        "child = os.fork() or (signal.pause(), os._exit(7)); print(child, flush=True); "
        "assert os.wait() == (child, 7 << 8); server.shutdown()",
        before="signal.signal(signal.SIGUSR1, lambda *_: None)",
    )
    child = int(serving.program.line())
    assert serving.says("hello") == "hello"
    # Again and again, because the child may not pause yet.
    wait_until(lambda: is_gone_after_a_nudge(child))
    assert serving.program.line() == "over"
    assert serving.program.wait() == 0


def is_gone_after_a_nudge(pid: int) -> bool:
    try:
        os.kill(pid, signal.SIGUSR1)
    except ProcessLookupError:
        return True
    return False


def test_a_class_of_the_program_may_choose_processes(serve: Any) -> None:
    serving = serve("ForkingTCPServer", before="socketserver.ForkingTCPServer.engine = 'processes'")
    with serving.conversation() as waiting:
        waiting.sendall(b"sleep\n")
        assert serving.says("socket") == "socket"
        serving.program.send_to_group(signal.SIGINT)
        assert serving.program.wait() == -signal.SIGINT
