"""What is kept of workers that have ended: the memory of their frames."""

import subprocess
import sys
import textwrap

import pytest

# Where it could not be built, the end of the test run names that.
pytest.importorskip("manyhands.runtime._frame_memory")

PROGRAM = textwrap.dedent(
    """
    import sys, threading
    from manyhands.runtime import _frame_memory, compiled

    compiled.keep_frame_memory()
    compiled.keep_frame_memory()

    def recurse(depth):
        return 1 + recurse(depth - 1) if depth else 0

    def in_a_crowd(number, depth):
        everybody_is_there = threading.Barrier(number)
        depths = []

        def live():
            everybody_is_there.wait()
            depths.append(recurse(depth))

        crowd = [threading.Thread(target=live) for _ in range(number)]
        for thread in crowd:
            thread.start()
        for thread in crowd:
            thread.join()
        assert depths == [depth] * number
    """
)


def run(body: str) -> str:
    program = PROGRAM + textwrap.dedent(body)
    return subprocess.check_output([sys.executable, "-c", program], text=True, timeout=60).strip()


def test_what_ended_threads_had_is_taken_by_the_next_ones() -> None:
    kept = run(
        """
        in_a_crowd(20, 3)
        first = _frame_memory.kept_chunks()
        in_a_crowd(20, 3)
        print(first, _frame_memory.kept_chunks())
        """
    )
    first, second = map(int, kept.split())
    assert 0 < first <= second <= first + 5


def test_no_more_is_kept_than_four_mebibytes() -> None:
    assert int(run("in_a_crowd(400, 3); print(_frame_memory.kept_chunks())")) == 256


def test_frames_that_need_more_than_one_piece_are_as_ever() -> None:
    assert run("in_a_crowd(30, 900); in_a_crowd(30, 900); print('sound')") == "sound"


def test_a_forked_copy_goes_on_with_what_was_kept() -> None:
    assert (
        run(
            """
            import os
            in_a_crowd(20, 3)
            pid = os.fork()
            if not pid:
                in_a_crowd(20, 3)
                os._exit(7)
            print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
            """
        )
        == "7"
    )


def test_threads_that_ask_for_it_at_once_get_it_once() -> None:
    # Two allocators of which each calls the other would call themselves for ever.
    assert (
        run(
            """
            everybody_is_there = threading.Barrier(8)
            def ask():
                everybody_is_there.wait()
                compiled.keep_frame_memory()
            crowd = [threading.Thread(target=ask) for _ in range(8)]
            for thread in crowd: thread.start()
            for thread in crowd: thread.join()
            in_a_crowd(20, 300)
            print('sound')
            """
        )
        == "sound"
    )


def test_an_interpreter_that_runs_without_its_lock_goes_on_without() -> None:
    # On a free-threaded build an extension that does not say that it needs no lock brings the lock back.
    assert (
        run(
            """
            from manyhands.engines.threads import ThreadsEngine
            ThreadsEngine()
            is_locked = getattr(sys, "_is_gil_enabled", lambda: True)
            import sysconfig
            print(is_locked() and bool(sysconfig.get_config_var("Py_GIL_DISABLED")))
            """
        )
        == "False"
    )
