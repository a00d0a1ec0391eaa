"""What a peer sends, made safe to show: nothing in it can move a cursor, colour, or turn text around."""

from collections.abc import Callable
from functools import cache

#: C0, DEL and C1: what a terminal obeys (ECMA-48, sections 5.2 and 8.3).
_CONTROLS = (*range(0x20), *range(0x7F, 0xA0))

#: What reorders the text around it (Unicode Standard Annex 9, section 2) and so can make a line
#: read as another one.
_BIDIRECTIONAL = (0x061C, 0x200E, 0x200F, *range(0x202A, 0x202F), *range(0x2066, 0x206A))

#: LINE SEPARATOR and PARAGRAPH SEPARATOR: some terminals and most editors break the line there.
_SEPARATORS = (0x2028, 0x2029)

#: Halves of UTF-16 pairs: no text of their own, and no encoding can write them.
_SURROGATES = range(0xD800, 0xE000)

_DANGEROUS = (*_CONTROLS, *_BIDIRECTIONAL, *_SEPARATORS, *_SURROGATES)


@cache
def _table(written: Callable[[int], str]) -> dict[int, str]:
    """Return how each dangerous character is written. Made at the first use: it has 2,000 entries."""
    return {code: written(code) for code in _DANGEROUS}


def _backslashed(code: int) -> str:
    named = {0x09: r"\t", 0x0A: r"\n", 0x0D: r"\r"}
    return named.get(code) or (f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}")


def _in_json(code: int) -> str:
    return f"\\u{code:04x}"


def escape(text: str) -> str:
    r"""Write control characters as a person can read them: ``\x1b``, ``\t``, ``\u202e``.

    Parameters
    ----------
    text : str
        Anything that a peer may send.

    Returns
    -------
    str
        One line that a terminal shows and does not obey. Backslashes stay as they are, so this is for
        eyes, not for reading back. What joins emoji (U+200D) and chooses their form stays too.
    """
    # Nearly all text is printable, which C code tells faster than any table.
    return text if text.isprintable() else text.translate(_table(_backslashed))


def escape_json(document: str, encoding: str = "utf-8") -> str:
    r"""Write the control characters inside a JSON document as ``\u009b``, which reads back the same.

    Parameters
    ----------
    document : str
        JSON on one line (RFC 8259), so that such characters can stand in its strings only.
    encoding : str
        What the document is to be written in. What that does not have is escaped, too.
    """
    safe = document if document.isprintable() else document.translate(_table(_in_json))
    if _has_all(safe, encoding):
        return safe
    # A program's own way to write what an encoding has not, such as `backslashreplace`, is no JSON.
    return "".join(c if c.encode(encoding, "ignore") else _pair(c) for c in safe)


def _has_all(text: str, encoding: str) -> bool:
    try:
        text.encode(encoding)
    except UnicodeEncodeError:
        return False
    return True


def _pair(character: str) -> str:
    """Write a character as JSON does, by its UTF-16 (RFC 8259, section 7)."""
    units = character.encode("utf-16-be", "surrogatepass")
    return "".join(f"\\u{units[n : n + 2].hex()}" for n in range(0, len(units), 2))


def encodable(text: str) -> str:
    """Return `text` with U+FFFD for each half of a UTF-16 pair, which no encoding can write.

    Python puts such halves where bytes were no UTF-8 (PEP 383).
    """
    return text.translate(_replacements())


@cache
def _replacements() -> dict[int, str]:
    return dict.fromkeys(_SURROGATES, "\N{REPLACEMENT CHARACTER}")
