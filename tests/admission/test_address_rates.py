"""Rates of many addresses, in a table that does not grow."""

import random

from hypothesis import given
from hypothesis import strategies as st

from manyhands.admission.rate_limits import AddressRates, Pace, TokenBucket


def taken(rates: AddressRates, key: int, tries: int, now: float) -> int:
    return sum(rates.take(key, now) for _ in range(tries))


def test_each_address_has_a_bucket_of_its_own() -> None:
    rates = AddressRates(Pace(1.0, burst=3))
    assert taken(rates, 1, 10, now=0.0) == 3
    assert taken(rates, 2, 10, now=0.0) == 3
    assert taken(rates, 1, 10, now=1.0) == 1


@given(
    st.floats(0.1, 100),
    st.integers(1, 5),
    st.lists(st.tuples(st.integers(0, 5), st.floats(0, 2)), max_size=200),
)
def test_in_a_table_with_room_each_address_is_as_one_bucket(
    rate: float, burst: int, calls: list[tuple[int, float]]
) -> None:
    pace, now = Pace(rate, burst), 1000.0
    rates, alone = AddressRates(pace), [TokenBucket(pace) for _ in range(6)]
    for key, step in calls:
        now += step
        has_token = rates.has_token(key, now)
        assert rates.take(key, now) == has_token == alone[key].take(now)


def test_looking_makes_no_entry() -> None:
    rates = AddressRates(Pace(1.0))
    assert rates.has_token(1, 0.0)
    assert len(rates) == 0


def test_a_scan_does_not_make_the_table_grow() -> None:
    rates, most = AddressRates(Pace(0.001, burst=5), most=100), 0
    for key in range(10_000):
        assert rates.take(key, now=key / 1000)
        most = max(most, len(rates))
    assert most == 100


def test_nor_does_the_order_of_the_slots_grow_with_time() -> None:
    rates, now = AddressRates(Pace(1.0, burst=10), most=100), 0.0
    for key in range(10_000):
        now += 0.37
        rates.take(key % 150, now)
        assert len(rates._slots) == len(rates._slots_in_order) <= 200


def test_addresses_whose_bucket_is_full_again_are_forgotten_as_others_come() -> None:
    rates = AddressRates(Pace(1.0, burst=5), most=1000)
    for key in range(1000):
        rates.take(key, now=0.0)
    for key in range(2000, 2500):
        rates.take(key, now=100.0)
    assert len(rates) == 500


def test_an_abuser_is_not_forgotten_for_a_scan() -> None:
    rates = AddressRates(Pace(0.001, burst=5), most=100)
    taken(rates, -1, 5, now=0.0)
    for key in range(10_000):
        rates.take(key, now=0.0)
    assert not rates.has_token(-1, now=0.0)


def test_an_address_that_is_full_again_is_forgotten_before_one_that_is_not() -> None:
    rates = AddressRates(Pace(1.0, burst=10), most=10)
    taken(rates, -1, 10, now=0.0)
    for key in range(9):
        rates.take(key, now=0.0)
    for key in range(100, 109):
        rates.take(key, now=2.0)
    assert taken(rates, -1, 10, now=2.0) == 2


def test_a_new_address_is_remembered_also_among_those_that_lack_more() -> None:
    rates = AddressRates(Pace(0.001, burst=5), most=10)
    for key in range(10):
        taken(rates, key, 5, now=0.0)
    assert taken(rates, 99, 10, now=0.0) == 5


def test_another_pace_keeps_what_is_missing_and_forgets_full_addresses() -> None:
    rates = AddressRates(Pace(1.0, burst=10))
    taken(rates, 1, 8, now=0.0)
    taken(rates, 2, 1, now=0.0)
    rates.change(Pace(0.5, burst=10), now=2.0)
    assert len(rates) == 1
    assert taken(rates, 1, 20, now=2.0) == 4
    assert taken(rates, 2, 20, now=2.0) == 10


def test_the_same_pace_again_changes_nothing_and_costs_nothing() -> None:
    rates = AddressRates(Pace(1.0, burst=10))
    taken(rates, 1, 8, now=0.0)
    table = rates._full_at
    rates.change(Pace(1.0, burst=10), now=0.0)
    assert rates._full_at is table
    assert taken(rates, 1, 20, now=0.0) == 2


@given(st.integers(0, 2**32), st.integers(1, 20), st.floats(0.01, 10), st.integers(1, 6))
def test_the_table_is_in_order_whatever_comes(
    seed: int, most: int, rate: float, burst: int
) -> None:
    chance = random.Random(seed)
    rates, now = AddressRates(Pace(rate, burst), most=most), 0.0
    for _ in range(200):
        now += chance.choice((0.0, 0.1, 5.0))
        rates.take(chance.randrange(40), now)
        if chance.random() < 0.02:
            rates.change(Pace(rate * chance.choice((0.5, 1, 2)), burst), now)
        assert len(rates) <= most
        assert sum(map(len, rates._slots.values())) == len(rates)
        assert set(rates._slots) == set(rates._slots_in_order)
