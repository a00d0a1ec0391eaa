"""The measurements of workers, each for a moment and on few clients."""

import json
import socket
import subprocess
import sys

import pytest
from bench.processes import MeasurementError
from bench.workers import changes, costs
from bench.workers.__main__ import FIGURES, MEASUREMENTS, rows
from bench.workers.fleet import descendants, serving

from manyhands.testing import ask, everything, read_line


@pytest.fixture(autouse=True)
def _little(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {"LONG": 40, "HELD": 4, "RATE": 100, "RELOADS": 1, "UPGRADES": 1}.items():
        monkeypatch.setattr(changes, name, value)
    monkeypatch.setattr(costs, "TURNS", 1)


def test_each_figure_of_the_table_is_measured() -> None:
    measured = [measure(0.2) for measure in MEASUREMENTS.values()]
    measured.append(changes.multitude(60))
    figures = {name for each in measured for name in each}
    assert {name for name, _, _ in FIGURES} <= figures
    assert len(list(rows(measured))) == len(FIGURES)
    found = {name: value for each in measured for name, value in each.items()}
    # Exact, whatever else the machine does.
    assert found["balance"] == found["balance_after"] == found["multitude_balance"] == 1.0
    assert found["reload_errors"] == found["upgrade_errors"] == 0
    assert found["multitude_descriptors"] == 0
    assert found["reload_calls"] > 10
    assert found["upgrade_calls"] > 10


def test_a_measurement_fails_where_the_server_does_not_begin() -> None:
    with (
        pytest.raises(MeasurementError, match="has no NoSuchHandler"),
        serving("NoSuchHandler"),
    ):
        pass


def test_all_processes_of_a_server_are_found() -> None:
    with serving(workers=2) as server:
        assert {server.pid, *server.pids_of_workers()} < set(server.processes())
    with serving(workers=None) as server:
        assert ask(("127.0.0.1", server.port), b"hello") == b"hello"
        assert server.processes() == descendants(server.pid) == [server.pid]


def test_a_call_that_is_not_answered_as_it_should_is_an_error() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = str(listener.getsockname()[1])
        with subprocess.Popen(
            [sys.executable, "-m", "bench.workers.callers", port, "50"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        ) as callers:
            peer, _ = listener.accept()
            with peer:
                assert read_line(peer)
                peer.sendall(b"something else, as long as that....\n")
                assert everything(peer) == b""
            # Those that call now are refused.
            listener.close()
            result = json.loads(callers.communicate()[0])
    assert result["errors"] >= 1
    assert result["first_error"]
