"""Which names callers may have: what can be seen, and is not taken for another caller or for the desk itself.

The rules are those of Unicode Technical Standard 39 in small: one look for what looks the same, and no
mixture of alphabets whose letters look alike. Chinese, Arabic, accents and emoji are as good as ASCII.
"""

import re
import unicodedata
from collections.abc import Callable, Iterator

from manyhands.desk.look_alikes import (
    EMOJI_FORM,
    INVISIBLE,
    SCRIPTS,
    bare_looks,
    begins_as_a_line,
)

LONGEST_NAME = 32
"""Characters of a caller's name: it stands before each of the caller's lines."""

_MOST_MARKS = 4
"""Marks on one letter: Hebrew and Vietnamese have three."""

_JOINER = "\u200d"
"""What makes one emoji of several."""

_ROUND = "()\uff08\uff09"
"""Brackets that names have, and no label."""

_ANGLES = "<>\u00ab\u00bb\u2039\u203a"

_NUMBER = re.compile(r"[\s!-/:-@\[-`{-~]*\d[\d\s!-/:-@\[-`{-~]*")
"""A number, with or without punctuation: an address and `#1` too."""

_LABEL = re.compile(
    r"""\W*\d+[^\w-]    # "2 Bob", "(2) Bob": a caller's label
      | .*[,;\u3001]\s*\d  # "Anna, 2 Bob": a list of them
      | .*\(\d+\)$       # "Bob (3)": with unread lines
      | .*[:\u2236\ua789\u02d0\u02f8\u05c3\u0589\u1361\u16ec\u205a](\s|$)  # "desk: ..."
      | .*\b(has\ (called|left|stopped)|is\ called|says\ more)\b  # what the desk says of a caller
      | the\ transcript\b
      | [-=>/]           # "-- 1 Anna has left", and what the operator types
      | you\ to\b        # "you to 2 Bob"
    """,
    re.VERBOSE,
)

_OF_THE_DESK = {
    *(
        "admin",
        "all",
        "desk",
        "everybody",
        "everyone",
        "manyhands",
        "nobody",
        "operator",
        "server",
        "system",
        "transcript",
    ),
    *("thedesk", "theoperator", "you", "byebye"),
}
"""As it is without spaces."""


def fault(name: str) -> str | None:
    """Return why no caller may have this name, in one sentence of ASCII; None: one may."""
    plain = unicodedata.normalize("NFKC", name)
    return next((why for why, is_so in _FAULTS.items() if is_so(name, plain)), None)


def _is_of_the_desk(name: str) -> bool:
    # Whatever stands before, behind and within: "*operator*", "the desk.", an accent below.
    return not _OF_THE_DESK.isdisjoint(bare_looks(name))


def is_same(name: str, other: str) -> bool:
    """Tell whether two names are the same to everyone who types them, in any case."""
    folded, other_folded = (unicodedata.normalize("NFC", text).casefold() for text in (name, other))
    return folded == other_folded


def _is_printable(name: str) -> bool:
    return _without_emoji_forms(name).isprintable()


def _without_emoji_forms(name: str) -> str:
    """Leave out what makes one emoji of several, or chooses its form, where it stands with emoji."""
    return "".join(_kept(name))


def _kept(name: str) -> Iterator[str]:
    for position, character in enumerate(name):
        before, after = name[position - 1 : position], name[position + 1 : position + 2]
        is_form = character == EMOJI_FORM and _is_emoji(before)
        is_joiner = (
            character == _JOINER
            and _is_emoji(before.replace(EMOJI_FORM, "\N{GRINNING FACE}"))
            and _is_emoji(after)
        )
        if not is_form and not is_joiner:
            yield character


def _is_emoji(character: str) -> bool:
    # Signs, and the skin colours that follow them.
    return (
        character != "" and unicodedata.category(character) in {"So", "Sk"} and character > "\u203b"
    )


def _is_bracket(character: str) -> bool:
    if character in _ROUND:
        return False
    return character in _ANGLES or unicodedata.category(character) in {"Ps", "Pe"}


def _has_loose_marks(name: str) -> bool:
    marks = "".join(
        "m" if unicodedata.category(c)[0] == "M" else " "
        for c in unicodedata.normalize("NFC", name)
    )
    return marks.startswith("m") or "m" * (_MOST_MARKS + 1) in marks


def _mixes_alphabets(name: str) -> bool:
    return any(len(_alphabets(word)) > 1 for word in re.findall(r"[^\W\d_]+", name))


def _alphabets(word: str) -> set[str]:
    return {unicodedata.name(letter, "").partition(" ")[0] for letter in word} & SCRIPTS


_FAULTS: dict[str, Callable[[str, str], object]] = {
    f"a name has 1 to {LONGEST_NAME} printable characters and is not a number": lambda name, plain: (
        not 0 < len(name) <= LONGEST_NAME
        or len(plain) > 2 * LONGEST_NAME  # one character may be as wide as a sentence
        or not _is_printable(name)
        or _NUMBER.fullmatch(plain)
    ),
    "a name may not have characters that cannot be seen": lambda name, _: INVISIBLE.search(
        _without_emoji_forms(name)
    ),
    "a name may not have brackets": lambda name, plain: any(map(_is_bracket, name + plain)),
    "a name may not begin with an accent, or have many on one letter": lambda name, _: (
        _has_loose_marks(name)
    ),
    "a word of a name may not have letters of several alphabets that look alike": lambda _, plain: (
        _mixes_alphabets(plain)
    ),
    "a name may not look like what the desk itself writes": lambda name, plain: (
        _LABEL.match(plain.casefold()) or begins_as_a_line(name) or _is_of_the_desk(name)
    ),
}
"""What may be wrong with a name, as it is and in its compatibility form (NFKC); the first fault counts."""
