"""The load generator's percentiles, against sorting."""

import json
import math
import random
import subprocess

import pytest
from bench.build import load_generator


def report_of(values):
    """What the histogram makes of nanoseconds, in nanoseconds."""
    text = "\n".join(map(str, values))
    ran = subprocess.run(
        [load_generator(), "percentiles"], input=text, capture_output=True, text=True, check=True
    )
    return {name: value * 1000 for name, value in json.loads(ran.stdout)["latency_us"].items()}


def exact(values, percent):
    ordered = sorted(values)
    return ordered[max(0, math.ceil(len(ordered) * percent / 100) - 1)]


@pytest.mark.parametrize("scale", [100, 10**5, 10**10])
def test_a_percentile_is_at_most_a_64th_above_the_truth(scale):
    values = [int(random.Random(7).expovariate(1 / scale)) + 10 for _ in range(20_000)]
    values = [value * (i % 97 + 1) for i, value in enumerate(values)]
    found = report_of(values)
    for percent in (50, 90, 99, 99.9):
        truth = exact(values, percent)
        # What is written has two decimals of a microsecond.
        assert truth - 10 <= found[f"p{percent:g}"] <= truth * (1 + 1 / 64) + 10


def test_the_greatest_and_the_mean_are_exact():
    values = [1_000, 3_000, 123_456_000]
    found = report_of(values)
    assert found["max"] == 123_456_000
    assert found["mean"] == pytest.approx(sum(values) / 3, abs=10)


def test_no_percentile_is_above_the_greatest():
    found = report_of([1_000_010])
    assert found["p50"] == found["p99.9"] == found["max"]


def test_one_in_a_thousand_is_the_999th_permille():
    values = [1_000] * 999 + [5_000_000]
    found = report_of(values)
    assert found["p99"] < 1_100
    assert found["p99.9"] < 1_100
    assert found["max"] == 5_000_000


def test_nothing_recorded_is_nothing():
    assert set(report_of([]).values()) == {0}


def test_the_largest_value_fits():
    assert report_of([2**63])["max"] == pytest.approx(2**63)
