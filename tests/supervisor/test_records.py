"""What goes over a link: records, however their bytes come."""

import marshal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from manyhands.workers.records import (
    LONGEST,
    MOST_DEALT,
    MOST_HANDED,
    Handed,
    Record,
    RecordReader,
    pack,
    pack_dealt,
    pack_handed,
    read_dealt,
    read_handed,
)

RECORDS = st.lists(
    st.builds(
        Record,
        st.integers(0, 255),
        st.integers(0, 255),
        st.integers(0, 2**64 - 1),
        st.binary(max_size=200),
    ),
    max_size=20,
)


def packed(records: list[Record]) -> bytes:
    return b"".join(pack(each.kind, each.place, each.body, each.reason) for each in records)


@given(RECORDS, st.lists(st.integers(1, 50)))
def test_records_are_found_however_they_are_cut(records: list[Record], sizes: list[int]) -> None:
    reader, data, found = RecordReader(), packed(records), []
    for size in sizes:
        found += reader.feed(data[:size])
        data = data[size:]
    assert found + reader.feed(data) == records
    assert not reader.has_rest


@given(RECORDS, st.integers(1, 20))
def test_a_record_that_is_not_whole_is_awaited(records: list[Record], missing: int) -> None:
    reader, data = RecordReader(), packed([*records, Record(1, 0, 7, b"x" * 20)])
    assert reader.feed(data[:-missing]) == records
    assert reader.has_rest
    assert reader.feed(data[-missing:]) == [Record(1, 0, 7, b"x" * 20)]


def test_the_longest_record_is_taken_and_a_longer_one_refused() -> None:
    longest = pack(1, body=bytes(LONGEST))
    assert [len(each.body) for each in RecordReader().feed(longest)] == [LONGEST]
    with pytest.raises(ValueError, match="65537 bytes"):
        RecordReader().feed(pack(1, body=bytes(LONGEST + 1))[:16])


@given(st.binary(max_size=400))
def test_whatever_comes_there_are_records_or_a_value_error(data: bytes) -> None:
    reader = RecordReader()
    try:
        found = reader.feed(data)
    except ValueError:
        return
    assert sum(16 + len(each.body) for each in found) <= len(data)


ADDRESSES = [
    ("192.0.2.1", 65535),
    ("fe80::1:2:3:4%interface", 65535, 1048575, 2**32 - 1),
    "x" * 107,
    "\udcff" * 107,
    b"\0" + b"x" * 107,
    b"\0" + b"\xff\0" * 53,
    "",
    None,
]


@pytest.mark.parametrize("address", ADDRESSES)
def test_any_address_fits_into_a_message_of_a_deal_channel(address: object) -> None:
    message = pack_dealt(2**64 - 1, address, 1)
    assert len(message) <= MOST_DEALT
    assert read_dealt(message) == (2**64 - 1, 1, address)
    assert marshal.loads(message[9:]) == address


@pytest.mark.parametrize("address", ADDRESSES)
def test_any_address_fits_into_a_message_of_a_hand_over_channel(address: object) -> None:
    handed = Handed(2**64 - 1, 2**32 - 1, address)
    message = pack_handed(handed)
    assert len(message) <= MOST_HANDED
    assert read_handed(message, 2**32) == handed


@pytest.mark.parametrize(
    "message",
    [
        b"",
        bytes(12),
        bytes(12) + b"{",
        bytes(12) + b"\xff",
        bytes(11) + b"\1" + b'["192.0.2.1", 80]',
        bytes(12) + b'{"bytes": "\\u4e2d"}',
    ],
)
def test_what_is_no_message_of_a_hand_over_channel_has_a_sentence(message: bytes) -> None:
    with pytest.raises(ValueError, match=r"."):
        read_handed(message, 1)
