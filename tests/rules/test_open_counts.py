"""How many connections each address has open."""

from manyhands.admission.admission import OpenCounts


def test_a_key_is_counted_while_it_has_a_connection_and_forgotten_after_the_last() -> None:
    counts = OpenCounts()
    counts.enter(1)
    counts.enter(1)
    counts.enter(2)
    assert (counts.of(1), counts.of(2), counts.of(3), len(counts)) == (2, 1, 0, 2)
    counts.leave(1)
    assert (counts.of(1), len(counts)) == (1, 2)
    counts.leave(1)
    assert (counts.of(1), len(counts)) == (0, 1)
