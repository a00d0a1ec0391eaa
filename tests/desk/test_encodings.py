"""The encodings that lines may be in."""

import codecs
import errno

import pytest

from manyhands.desk.encodings import OFFERED, encoding, unwritable
from manyhands.model.usage_errors import Mistake


@pytest.mark.parametrize(
    "name",
    [*OFFERED, "GBK", "gb2312", "Latin-1", "cp1252", "cp437", "ascii", "UTF8", "euc_jp", "cp932"],
)
def test_an_encoding_of_lines_is_known_by_pythons_name(name: str) -> None:
    known = encoding(name)
    assert known == encoding(known)
    assert b"hello".decode(known) == "hello"


@pytest.mark.parametrize("name", ["nonsense", "", "a\0b", "../gbk", "\ud800", "x" * 9999])
def test_what_is_no_encoding_is_refused_in_a_sentence(name: str) -> None:
    with pytest.raises(Mistake, match=r"there is no encoding .*; there are big5, "):
        encoding(name)


def test_one_that_cannot_be_loaded_just_now_is_refused_in_a_sentence(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def look_up(name: str) -> None:
        raise OSError(errno.EMFILE, "Too many open files", "/usr/lib/python3/encodings/koi8_r.py")

    with monkeypatch.context() as shortage:
        shortage.setattr(codecs, "lookup", look_up)
        with pytest.raises(
            Mistake, match=r"^the encoding 'koi8-r' cannot be loaded now: Too many open files$"
        ):
            encoding("koi8-r")


@pytest.mark.parametrize(
    "name",
    [
        *(
            "utf-16",
            "utf-16-le",
            "utf-32",
            "utf-7",
            "utf-8-sig",
            "iso2022_jp",
            "iso2022_kr",
            "hz",
            "cp037",
        ),
        *(
            "unicode_escape",
            "raw_unicode_escape",
            "idna",
            "punycode",
            "undefined",
            "rot13",
            "hex",
            "zlib",
            "base64",
        ),
    ],
)
def test_an_encoding_that_is_not_for_lines_is_refused_in_a_sentence(name: str) -> None:
    with pytest.raises(Mistake, match="is not for lines of text"):
        encoding(name)


def test_what_an_encoding_does_not_have_is_named_once() -> None:
    assert unwritable("naïve ☕ café ☕ 你", "latin-1") == "☕你"
    assert unwritable("你好", "gb18030") == ""
