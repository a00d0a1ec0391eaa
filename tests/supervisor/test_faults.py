"""What dies, and what goes on: workers, templates, the supervisor."""

import signal
import socket
from pathlib import Path

import pytest

from manyhands import Server
from tests.supervisor.kit import (
    Pid,
    callers,
    close,
    is_balanced,
    kill,
    serving,
    wait_for_another,
    workers,
)
from tests.supervisor.programs import service
from tests.support.processes import children_of, has_ended, stop
from tests.support.waiting import PATIENCE, wait_until

ANY = "tcp://127.0.0.1:0"


def test_a_worker_of_a_program_with_threads_is_replaced(tmp_path: Path) -> None:
    with service(
        tmp_path,
        """
        threading.Thread(target=time.sleep, args=(1e6,), daemon=True).start()
        server = Server(Pid, ("127.0.0.1", 0), workers=2)
        """,
    ) as program:
        before = program.workers(2)
        victim = before.pop()
        kill(victim)
        program.wait_for("WorkerDied")
        after = program.workers(2)
        assert victim not in after
        assert before < after


def template_of(server: Server) -> int:
    """Return the process that workers are forked from."""
    [generation] = server._sockets.fleet.generations.all  # type: ignore[attr-defined]
    return generation.templates[0].pid if generation.templates else 0


def test_a_template_that_is_killed_is_made_again_and_its_workers_go_on() -> None:
    with Server(Pid, ANY, workers=2) as server:
        every = callers(server, 2)
        before = template_of(server)
        kill(before)
        wait_until(lambda: template_of(server) not in {before, 0})
        victim = every[0].ask()
        kill(victim)
        wait_for_another(server, victim)
        assert every[1].ask() in serving(server)
        close(every)
        assert server.wait_for_connections(0, PATIENCE)
        assert is_balanced(server)


def test_a_worker_that_its_template_was_to_make_is_asked_of_the_next_template() -> None:
    with Server(Pid, ANY, workers=2) as server:
        template = template_of(server)
        stop(template)
        victim = serving(server)[0]
        kill(victim)
        wait_until(lambda: [each.state for each in workers(server)].count("starting") == 1)
        kill(template)
        wait_for_another(server, victim)


def test_a_template_that_hangs_is_replaced_when_a_worker_has_waited_long_enough_for_it() -> None:
    with Server(Pid, ANY, workers=2, start_timeout=10) as server:
        template = template_of(server)
        stop(template)
        victim = serving(server)[0]
        kill(victim)
        wait_for_another(server, victim)
        assert template_of(server) not in {template, 0}


def test_workers_drain_by_themselves_when_their_supervisor_is_killed(tmp_path: Path) -> None:
    with service(
        tmp_path,
        """
        class Busy(StreamRequestHandler):
            def handle(self):
                pid = os.getpid()
                self.wfile.write(b"%d %s" % (pid, self.rfile.readline()))
                while not os.path.exists("enough"):
                    time.sleep(0.01)
                self.wfile.write(b"%d hi\\n" % pid)

        server = Server(Busy, ("127.0.0.1", 0), workers=2, drain_timeout=20)
        """,
    ) as program:
        every = [program.call() for _ in range(2)]
        pids = [each.ask() for each in every]
        others = children_of(program.pid)
        stop(pids[1])
        kill(program.pid)
        program.wait()
        with socket.create_server(program.address):
            pass
        # Those that are served come to their end.
        assert not any(map(has_ended, pids))
        (tmp_path / "enough").touch()
        assert every[0].answer() == pids[0]
        assert every[0].end() == b""
        wait_until(lambda: has_ended(pids[0]))
        kill(pids[1], signal.SIGCONT)
        assert every[1].answer() == pids[1]
        wait_until(lambda: all(map(has_ended, [*pids, *others])))
        close(every)


def test_what_fails_whenever_the_supervisor_looks_keeps_nothing_else_from_it(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    def fail(_: object) -> None:
        raise ValueError("a fault of ours")

    with Server(Pid, ANY, workers=1) as server:
        fleet = server._sockets.fleet  # type: ignore[attr-defined]
        monkeypatch.setattr(fleet.dealer, "look", fail)
        before = serving(server)
        assert server.reload()
        wait_until(lambda: len(serving(server)) == 1 and serving(server) != before)
    assert "a fault of ours" in capfd.readouterr().err
