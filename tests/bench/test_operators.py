"""The measurement of what operators cost, on a crowd that is no crowd."""

import pytest
from bench.operators import ROWS, measure_looking, measure_stalled
from bench.processes import Cores


@pytest.fixture(scope="module")
def cores() -> Cores:
    return Cores.choose()


def test_each_figure_of_the_table_is_measured(cores: Cores) -> None:
    figures = measure_looking(20, 0.1, cores) | measure_stalled(2, 0.1, cores)
    assert {name for name, _, _ in ROWS} == set(figures)
    assert 0 < figures["page_ms"] <= figures["slowest_page_ms"]
    assert figures["p99_ms"] > 0
