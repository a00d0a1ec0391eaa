"""From bytes to messages, without a socket and with a clock of our own."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from manyhands.desk.messages import LineTooLong, Message, MessageDecoder


def texts(messages: list[Message]) -> list[str]:
    return [message.text for message in messages]


def test_a_line_is_a_message_when_its_end_has_come() -> None:
    decoder = MessageDecoder()
    assert decoder.feed(b"hel", now=0.0) == []
    assert texts(decoder.feed(b"lo\nthere\n", now=0.1)) == ["hello", "there"]
    assert decoder.deadline() is None


def test_cr_lf_ends_a_line_as_lf_does_even_when_it_is_cut_in_two() -> None:
    decoder = MessageDecoder()
    assert texts(decoder.feed(b"one\r\ntwo\r", now=0.0)) == ["one"]
    assert texts(decoder.feed(b"\nthree\n", now=0.0)) == ["two", "three"]


def test_an_empty_line_is_an_empty_message() -> None:
    assert texts(MessageDecoder().feed(b"\n\r\n", now=0.0)) == ["", ""]


@pytest.mark.parametrize("end", [b"\n", b"\r\n"])
def test_empty_lines_in_a_row_may_be_one_message_or_none(end: bytes) -> None:
    decoder = MessageDecoder(merges_empty_lines=True)
    assert texts(decoder.feed(b"a" + 9 * end + b"b" + end + b"c" + end, now=0.0)) == ["a", "b", "c"]
    assert texts(decoder.feed(9 * end, now=0.0)) == [""]
    decoder.feed(b"unfinished", now=0.0)
    decoder.expire(now=1.0)
    assert texts(decoder.feed(9 * end + b"d" + end, now=1.0)) == ["d"]


def test_a_cr_in_the_middle_stays() -> None:
    assert texts(MessageDecoder().feed(b"a\rb\n", now=0.0)) == ["a\rb"]


def test_unfinished_text_is_a_message_a_while_after_its_last_byte() -> None:
    decoder = MessageDecoder(unfinished=0.2)
    decoder.feed(b"hel", now=10.0)
    decoder.feed(b"lo", now=10.1)
    assert decoder.deadline() == pytest.approx(10.3)
    assert decoder.expire(now=10.25) == []
    assert texts(decoder.expire(now=10.3)) == ["hello"]
    assert decoder.deadline() is None
    assert decoder.expire(now=99.0) == []


@pytest.mark.parametrize("end", [b"\n", b"\r\n"])
def test_the_end_of_a_line_that_comes_after_its_text_was_taken_is_no_second_message(
    end: bytes,
) -> None:
    decoder = MessageDecoder()
    decoder.feed(b"hello", now=0.0)
    assert texts(decoder.expire(now=1.0)) == ["hello"]
    assert decoder.feed(end, now=2.0) == []
    assert texts(decoder.feed(b"\n", now=3.0)) == [""]


def test_a_cr_that_waits_for_its_lf_is_no_message() -> None:
    decoder = MessageDecoder()
    decoder.feed(b"hello", now=0.0)
    decoder.expire(now=1.0)
    decoder.feed(b"\r", now=2.0)
    assert decoder.expire(now=3.0) == []
    assert decoder.feed(b"\n", now=4.0) == []


def test_text_that_goes_on_after_it_was_taken_is_a_message_of_its_own() -> None:
    decoder = MessageDecoder()
    decoder.feed(b"hel", now=0.0)
    decoder.expire(now=1.0)
    assert texts(decoder.feed(b"lo\n\n", now=2.0)) == ["lo", ""]


def test_a_character_split_across_packets_arrives_whole() -> None:
    decoder = MessageDecoder()
    for byte in "你😀".encode():
        assert decoder.feed(bytes([byte]), now=0.0) == []
    assert decoder.feed(b"\n", now=0.0) == [Message("你😀")]


def test_a_character_that_is_not_whole_yet_is_held_back_when_the_text_before_it_is_taken() -> None:
    decoder = MessageDecoder()
    decoder.feed("好😀".encode()[:-1], now=0.0)
    assert decoder.expire(now=1.0) == [Message("好")]
    decoder.feed("😀".encode()[-1:], now=2.0)
    assert decoder.expire(now=3.0) == [Message("😀")]


def test_bytes_that_are_no_utf8_are_replaced_and_the_message_says_so() -> None:
    decoder = MessageDecoder()
    assert decoder.feed(b"caf\xe9!\nok\n", now=0.0) == [
        Message("caf\ufffd!", is_repaired=True),
        Message("ok"),
    ]


@pytest.mark.parametrize("encoding", ["utf-8", "gb18030", "big5", "shift_jis", "euc_kr"])
def test_half_a_character_does_not_outlive_a_pause(encoding: str) -> None:
    decoder = MessageDecoder()
    decoder.encoding = encoding
    half = "好".encode(encoding)[:1]
    decoder.feed(b"ok" + half, now=0.0)
    assert decoder.expire(now=1.0) == [Message("ok")]
    deadline = decoder.deadline()
    assert deadline == pytest.approx(1.2)
    assert decoder.expire(now=deadline) == [Message("\ufffd", is_repaired=True)]
    assert decoder.deadline() is None
    assert decoder.feed(b"byebye\n", now=2.0) == [Message("byebye")]


def test_what_cannot_be_the_rest_of_a_character_ends_it_at_once() -> None:
    decoder = MessageDecoder()
    decoder.feed("二号".encode("gbk"), now=0.0)
    assert decoder.expire(now=0.2) == [Message("\ufffd\ufffd\ufffd", is_repaired=True)]
    assert texts(decoder.feed(b"byebye\r\n", now=0.3)) == ["\ufffd", "byebye"]


def test_lines_are_read_in_the_encoding_that_is_set() -> None:
    decoder = MessageDecoder()
    decoder.encoding = "gb18030"
    assert decoder.feed("你好\n".encode("gbk"), now=0.0) == [Message("你好")]
    for byte in "😀好".encode("gb18030"):
        assert decoder.feed(bytes([byte]), now=0.0) == []
    assert decoder.expire(now=0.2) == [Message("😀好")]
    decoder.encoding = "latin-1"
    assert decoder.feed(b"caf\xe9\n", now=1.0) == [Message("café")]


def test_half_a_character_is_none_in_another_encoding() -> None:
    decoder = MessageDecoder()
    decoder.feed("二号".encode("gbk"), now=0.0)
    decoder.expire(now=0.2)
    decoder.encoding = "gbk"
    assert decoder.feed("你好\n".encode("gbk"), now=0.3) == [Message("你好")]


def test_what_came_in_is_known_of_a_message_that_was_repaired() -> None:
    decoder = MessageDecoder()
    sent = "二号".encode("gbk")
    decoder.feed(sent, now=0.0)
    assert [message.original for message in decoder.expire(now=1.0)] == [sent]


def test_a_replacement_character_that_was_sent_is_no_repair() -> None:
    assert MessageDecoder().feed("\ufffd\n".encode(), now=0.0) == [Message("\ufffd")]


def test_what_is_unfinished_at_the_end_is_a_message() -> None:
    decoder = MessageDecoder()
    decoder.feed(b"bye \xe4\xbd", now=0.0)
    assert decoder.finish() == [Message("bye \ufffd", is_repaired=True)]
    assert decoder.finish() == []


@pytest.mark.parametrize("end", [b"\n", b"\r\n"])
def test_a_line_may_have_as_many_bytes_as_the_limit(end: bytes) -> None:
    decoder = MessageDecoder(limit=4)
    assert texts(decoder.feed(b"abcd" + end + b"efgh", now=0.0)) == ["abcd"]
    assert texts(decoder.feed(end, now=0.0)) == ["efgh"]


@pytest.mark.parametrize("packets", [[b"abcde\n"], [b"abc", b"de"], [b"abcd", b"\r", b"e"]])
def test_a_line_with_one_byte_more_is_too_long_and_nothing_waits_for_its_end(
    packets: list[bytes],
) -> None:
    decoder = MessageDecoder(limit=4)
    *before, last = packets
    assert [decoder.feed(packet, now=0.0) for packet in before] == [[] for _ in before]
    with pytest.raises(LineTooLong, match="longer than 4 bytes"):
        decoder.feed(last, now=0.0)


def test_the_messages_before_a_line_that_is_too_long_are_not_lost() -> None:
    with pytest.raises(LineTooLong) as caught:
        MessageDecoder(limit=4).feed(b"one\ntwo\nthree\n", now=0.0)
    assert texts(caught.value.messages) == ["one", "two"]


def test_the_limit_counts_bytes_and_not_characters() -> None:
    with pytest.raises(LineTooLong):
        MessageDecoder(limit=5).feed("你好\n".encode(), now=0.0)


@given(st.lists(st.text(st.characters(exclude_characters="\r\n", codec="utf-8"))), st.data())
def test_however_the_bytes_are_cut_the_lines_are_the_same(
    lines: list[str], data: st.DataObject
) -> None:
    sent = "".join(f"{line}\n" for line in lines).encode()
    cuts = sorted(data.draw(st.lists(st.integers(0, len(sent)))))
    decoder = MessageDecoder(limit=max(len(sent), 1))
    heard = []
    for start, end in zip([0, *cuts], [*cuts, len(sent)], strict=True):
        heard += decoder.feed(sent[start:end], now=0.0)
    assert heard == [Message(line) for line in lines]
    assert decoder.finish() == []


@given(st.binary(), st.lists(st.integers(0, 20)))
def test_no_text_is_lost_when_pauses_fall_anywhere(sent: bytes, pauses: list[int]) -> None:
    decoder, heard, position = MessageDecoder(), "", 0
    for length in [*pauses, len(sent)]:
        packet = sent[position : position + length]
        position += length
        heard += "".join(texts(decoder.feed(packet, now=0.0)))
        heard += "".join(texts(decoder.expire(now=1.0)))
    heard += "".join(texts(decoder.finish()))
    said = sent.decode(errors="replace")
    assert heard.replace("\r", "") == said.replace("\n", "").replace("\r", "")
