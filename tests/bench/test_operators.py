"""The measurement of what operators cost, on a crowd that is no crowd."""

import threading
from pathlib import Path

import pytest
from bench.attended import meanwhile
from bench.operators import CONTROLLED, beside, looking, screens
from bench.operators.__main__ import BESIDE, LOOKING, rows_beside, rows_of_looking
from bench.processes import Cores, MeasurementError, load, serving


@pytest.fixture(scope="module")
def cores() -> Cores:
    return Cores.choose()


def test_each_figure_of_the_table_is_measured(cores: Cores) -> None:
    figures = looking.measure(20, 0.1, cores)
    assert {name for name, _, _ in LOOKING} == set(figures)
    assert 0 < figures["page_ms"] <= figures["slowest_page_ms"]
    assert len(list(rows_of_looking([figures]))) == len(figures)


def test_each_of_those_who_ask_is_beside_an_echo(cores: Cores) -> None:
    told: list[dict[str, float]] = []
    rounds = beside.measure(20, 1, 0.1, cores, told.append)
    assert rounds == told
    assert {"alone", *(name for name, _, _ in BESIDE)} == set(rounds[0])
    assert all(milliseconds > 0 for milliseconds in rounds[0].values())
    assert "echo, 99th percentile" in next(rows_beside(rounds))


def test_a_latency_at_a_rate_counts_from_when_a_message_was_due(cores: Cores) -> None:
    with serving(CONTROLLED, "echo", cores) as server:
        at_rate = {**beside.LOAD, "rate": 200, "connections": 2}
        steady = load("echo", server, cores, seconds=0.5, **at_rate)
        # Unbounded there would be thousands. A stall before or in that time makes it more or less.
        assert 0 < steady["requests"] / steady["seconds"] < 1000
        # Some messages find no place among those that are under way, and wait for their turn.
        in_a_rush = {**at_rate, "rate": 1e6, "depth": 1}
        rushed = load("echo", server, cores, seconds=20, requests=5000, **in_a_rush)
    # All were due within 5 ms, and no server answers 2,500 of them in 10, one after another.
    assert rushed["latency_us"]["p50"] > 5_000


def test_a_client_that_fails_or_does_not_begin_fails_the_measurement(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def fail(_is_under_way: threading.Event, _is_over: threading.Event) -> None:
        raise ValueError("no answer")

    with pytest.raises(MeasurementError, match="client failed: no answer"), meanwhile(fail):
        pass
    monkeypatch.setattr("bench.attended.START", 0.01)
    with (
        pytest.raises(MeasurementError, match="does not begin"),
        meanwhile(lambda _is_under_way, is_over: is_over.wait()),
    ):
        pass


def test_a_page_that_looks_by_other_constants_is_noticed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert screens.number_in_page("PAUSE") >= 500
    program = tmp_path / "web" / "static" / "connections.js"
    program.parent.mkdir(parents=True)
    program.write_text("const INTERVAL = 5;\n")
    monkeypatch.setattr(screens.manyhands, "__file__", str(tmp_path / "__init__.py"))
    with pytest.raises(MeasurementError, match="has no constant PAUSE"):
        screens.number_in_page("PAUSE")
