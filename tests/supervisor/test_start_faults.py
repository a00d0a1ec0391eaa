"""Processes that cannot be had, and programs that start processes of their own in handlers."""

from pathlib import Path

import pytest

from manyhands import Server
from manyhands.model.usage_errors import NotStarted
from manyhands.workers.share import Share
from tests.supervisor.kit import Pid, kill
from tests.supervisor.programs import service

FAILING_FORK = """
    from manyhands.workers import template

    fork = template.system_fork

    def fork_in_template():
        if os.path.exists("no more"):
            raise BlockingIOError(11, "Resource temporarily unavailable")
        return fork()

    template.system_fork = fork_in_template
    server = Server(Pid, ("127.0.0.1", 0), workers=2)
"""


def test_a_worker_is_made_once_a_process_can_be_had_again(tmp_path: Path) -> None:
    with service(tmp_path, FAILING_FORK) as program:
        before = program.workers(2)
        (tmp_path / "no more").touch()
        victim = min(before)
        kill(victim)
        while "no process could be had" not in program.wait_for("WorkerDied"):
            pass
        with program.call() as caller:
            assert caller.ask() == max(before)
        (tmp_path / "no more").unlink()
        assert victim not in program.workers(2)


def test_without_a_process_the_start_fails_in_a_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    def fork() -> int:
        raise BlockingIOError(11, "Resource temporarily unavailable")

    monkeypatch.setattr("manyhands.supervisor.template_process.system_fork", fork)
    server = Server(Pid, "tcp://127.0.0.1:0", workers=2)
    with pytest.raises(NotStarted, match="no process can be started: Resource temporarily"):
        server.start()


def test_handlers_may_start_processes_of_their_own(tmp_path: Path) -> None:
    with service(
        tmp_path,
        """
        import multiprocessing, subprocess

        class Starts(StreamRequestHandler):
            def handle(self):
                for line in self.rfile:
                    if line == b"fork\\n":
                        pid = os.fork()
                        if not pid:
                            os._exit(7)
                        told = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
                    elif line == b"run\\n":
                        told = subprocess.run([sys.executable, "-c", "raise SystemExit(7)"]).returncode
                    else:
                        context = multiprocessing.get_context(line.strip().decode())
                        process = context.Process(target=sys.exit, args=(7,))
                        process.start()
                        process.join()
                        told = process.exitcode
                    self.wfile.write(b"%d hi\\n" % told)

        server = Server(Starts, ("127.0.0.1", 0), workers=2)
        """,
    ) as program:
        with program.call() as caller:
            for way in (b"fork", b"run", b"forkserver", b"spawn"):
                assert caller.ask_any(way) == 7
        with program.call() as another:
            assert another.ask_any(b"fork") == 7


def test_whatever_keeps_a_worker_from_being_made_fails_the_start_in_a_sentence(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(Share, "as_plain", lambda _: {"number": object()})
    server = Server(Pid, "tcp://127.0.0.1:0", workers=1)
    with pytest.raises(NotStarted, match=r"no worker can be made: TypeError: .* not JSON"):
        server.start()
    # It is tried again after a pause, if at all.
    assert capfd.readouterr().err.count("TypeError: ") == 1
