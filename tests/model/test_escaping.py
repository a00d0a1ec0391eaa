"""What a peer sends is shown, and never obeyed."""

import json
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from manyhands.model.escaping import encodable, escape, escape_json


@pytest.mark.parametrize(
    ("sent", "shown"),
    [
        ("\x1b[31mred", r"\x1b[31mred"),
        ("a\tb\rc\nd", r"a\tb\rc\nd"),
        ("\x00\x7f", r"\x00\x7f"),
        ("\x9b2J", r"\x9b2J"),
        ("abc\u202edcba", r"abc\u202edcba"),
        ("\u2066x\u2069\u200f\u061c", r"\u2066x\u2069\u200f\u061c"),
        ("one\u2028two\u2029", r"one\u2028two\u2029"),
        ("\ud83d", r"\ud83d"),
    ],
)
def test_control_characters_are_shown_escaped(sent: str, shown: str) -> None:
    assert escape(sent) == shown


@pytest.mark.parametrize(
    "text",
    ["hello", "你好", "😀👩‍👩‍👧❤️", "naïve", "\u00a0\u3000", "C:\\temp", "<b>&amp;", "שלום", ""],
)
def test_everything_else_is_shown_as_it_is(text: str) -> None:
    assert escape(text) == text


@given(st.text(st.characters()))
def test_nothing_that_a_terminal_obeys_is_left(text: str) -> None:
    assert not {unicodedata.category(character) for character in escape(text)} & {
        "Cc",
        "Cs",
        "Zl",
        "Zp",
    }
    assert not {unicodedata.bidirectional(character) for character in escape(text)} & {
        *("LRE", "RLE", "LRO", "RLO", "PDF"),
        *("LRI", "RLI", "FSI", "PDI"),
    }


@given(st.text())
def test_json_keeps_the_real_text_and_has_nothing_that_a_terminal_obeys(text: str) -> None:
    document = escape_json(json.dumps({"text": text}, ensure_ascii=False))
    assert json.loads(document) == {"text": text}
    assert escape(document) == document


def test_what_no_encoding_can_write_is_replaced() -> None:
    assert encodable("a\udce4b\ud800 你") == "a\ufffdb\ufffd 你"
