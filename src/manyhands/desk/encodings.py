"""Which encodings lines can be read and written in: ASCII is ASCII there, and each line stands alone."""

import codecs
import sys

from manyhands.model.usage_errors import Mistake

UTF_8 = "utf-8"

OFFERED = (
    "big5",
    "euc-kr",
    "gb18030",
    "gbk",
    "koi8-r",
    "latin-1",
    "shift_jis",
    "utf-8",
    "windows-1251",
)
"""Some of those that callers send; any other that Python knows will do."""

_ASCII = bytes(range(128))

_ESCAPES = rb"\x41 \u0041"
"""What the encodings of Python's own literals read as something else."""

_STATEFUL = "iso2022"
"""How those begin that switch between character sets, and stay so beyond the end of a line (RFC 1468)."""


def encoding(name: str) -> str:
    """Return the name that Python has for an encoding, `gb18030` for instance.

    Raises
    ------
    Mistake
        It knows none of this name, or lines cannot be written in it.
    """
    try:
        known = codecs.lookup(name).name
    except (LookupError, ValueError):  # a NUL, or half of a UTF-16 pair, is no name
        raise Mistake(
            f"there is no encoding {name!r}; there are {', '.join(OFFERED)} and others"
        ) from None
    except OSError as error:
        raise Mistake(f"the encoding {name!r} cannot be loaded now: {error.strerror}") from None
    if not _fits(known):
        raise Mistake(
            f"the encoding {name!r} is not for lines of text: ASCII is something else in it; "
            f"there are {', '.join(OFFERED)} and others"
        )
    return known


def _fits(name: str) -> bool:
    text = _ASCII.decode("ascii")
    try:
        return (
            not name.startswith(_STATEFUL)
            and _ESCAPES.decode(name) == _ESCAPES.decode("ascii")
            and _ASCII.decode(name) == text
            # A mark that says which encoding it is (BOM) would stand before each line.
            and text.encode(name) == _ASCII
        )
    except (LookupError, ValueError):  # no encoding of texts, or ASCII is no text in it
        return False


def of_standard_input() -> str:
    """Return the encoding of what is typed, or piped: that of the locale, or what PYTHONIOENCODING says."""
    try:
        known = encoding(sys.stdin.encoding) if sys.stdin else UTF_8
    except Mistake:
        return UTF_8
    # UTF-8 is ASCII and more: where a locale knows no more, what comes in mostly is UTF-8 all the same.
    return UTF_8 if known == "ascii" else known


def unwritable(text: str, name: str) -> str:
    """Return the characters of a text that an encoding does not have, each once."""
    try:
        text.encode(name)
    except UnicodeEncodeError:
        return "".join(dict.fromkeys(c for c in text if c.encode(name, "ignore") == b""))
    return ""
