"""Text from bytes that come in pieces."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from manyhands.protocol.framing import FrameBuffer, FrameTooLong, TextDecoder, UndecodableText

ENCODINGS = ["utf-8", "utf-16", "utf-32-le", "gb18030", "utf-7", "utf-8-sig"]


def test_a_character_in_two_pieces_comes_whole() -> None:
    decoder = TextDecoder()
    euro = "€".encode()
    assert decoder.feed(b"1 " + euro[:2]) == "1 "
    assert decoder.feed(euro[2:] + b"!") == "€!"
    assert decoder.finish() == ""


def test_half_a_character_at_the_end_is_no_text() -> None:
    decoder = TextDecoder()
    assert decoder.feed(b"a\xe2\x82") == "a"
    with pytest.raises(UndecodableText):
        decoder.finish()
    patient = TextDecoder(errors="replace")
    patient.feed(b"\xe2\x82")
    assert patient.finish() == "\N{REPLACEMENT CHARACTER}"


def test_what_does_not_fit_is_named_and_nothing_of_it_was_taken() -> None:
    decoder = TextDecoder()
    for _ in range(2):
        with pytest.raises(UndecodableText, match="no utf-8: the byte 0xff at position 2") as bad:
            decoder.feed(b"ab\xff")
    assert (bad.value.encoding, bad.value.data, bad.value.position) == ("utf-8", b"ab\xff", 2)
    assert decoder.feed(b"ab") == "ab"


def test_what_does_not_fit_leaves_no_shift_behind() -> None:
    decoder = TextDecoder("iso2022_jp")
    with pytest.raises(UndecodableText):
        decoder.feed(b"\x1b$B\xff")  # from here on Japanese, and no character
    assert decoder.feed(b"ab") == "ab"


def test_an_unknown_encoding_is_found_when_the_decoder_is_made() -> None:
    with pytest.raises(LookupError):
        TextDecoder("utf-9")


def test_half_a_character_can_be_taken_back() -> None:
    decoder = TextDecoder()
    assert decoder.feed(b"a\xe2\x82") == "a"
    assert decoder.take_back() == b"\xe2\x82"
    assert decoder.feed(b"b") == "b"


@pytest.mark.parametrize("encoding", ENCODINGS)
@given(
    text=st.text(st.characters(exclude_categories=["Cs"])),
    size=st.integers(min_value=1, max_value=7),
)
def test_any_split_gives_the_same_text(encoding: str, text: str, size: int) -> None:
    data = text.encode(encoding)
    buffer, decoder, got = FrameBuffer(), TextDecoder(encoding), ""
    for start in range(0, len(data), size):
        buffer.feed(data[start : start + size])
        got += buffer.text(decoder, 1000) or ""
    got += decoder.feed(buffer.available(len(buffer))) + decoder.finish()
    assert got == data.decode(encoding)


def test_half_a_character_stays_in_the_buffer_for_the_next_read() -> None:
    buffer, decoder = FrameBuffer(), TextDecoder()
    buffer.feed(b"a\xe2\x82")
    assert buffer.text(decoder, 10) == "a"
    assert buffer.text(decoder, 10) is None
    assert buffer.peek() == b"\xe2\x82"
    buffer.feed(b"\xac")
    assert buffer.text(decoder, 10) == "€"


def test_a_character_without_an_end_has_a_limit() -> None:
    buffer, decoder = FrameBuffer(), TextDecoder("utf-7")
    buffer.feed(b"+" + b"A" * 40)
    assert buffer.text(decoder, 50) is None
    buffer.feed(b"A" * 40)
    with pytest.raises(FrameTooLong, match="a character is longer than 50 bytes"):
        buffer.text(decoder, 50)
