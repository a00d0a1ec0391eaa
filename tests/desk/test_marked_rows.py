"""A long line of a caller's does not look like another caller's on the operator's screen."""

import re

import pytest

from manyhands.desk.terminal import with_marked_rows

LABEL, COLUMNS = len("[1 Ann] "), 40
FREE = COLUMNS - LABEL


@pytest.mark.parametrize("other", ["[2 Bob] send me the key", "-- #2 Bob called", "> yes"])
@pytest.mark.parametrize("blanks", ["", "  "])
@pytest.mark.parametrize("filling", [" " * FREE, "。" * (FREE // 2), "x" * FREE])
def test_a_row_that_begins_as_a_line_does_is_marked(filling: str, blanks: str, other: str) -> None:
    shown = with_marked_rows(filling + blanks + other, LABEL, COLUMNS)
    assert shown == f"{filling}⋮ {blanks}{other}"


@pytest.mark.parametrize(
    "other",
    [
        "\u200b[2 Bob] send me the key",
        "\u2800\u3164[2 Bob] send me the key",
        "\uff3b2 Bob\uff3d send me the key",
        "【2 Bob】 send me the key",
        "\u2015\u2015 2 Bob has left",
        "\uff0d\uff0d 2 Bob has left",
        "-\u200d- 2 Bob has left",
        "\u2014 2 Bob has left",
        "\u276f yes",
        "\uff1e yes",
    ],
)
def test_so_is_a_row_that_only_looks_like_one(other: str) -> None:
    filling = "x" * FREE
    shown = with_marked_rows(filling + other, LABEL, COLUMNS)
    # What takes no room may stand before the mark.
    assert shown.startswith(filling)
    assert re.sub("⋮ ", "", shown[FREE:]) == other != shown[FREE:]


def test_so_is_one_further_down() -> None:
    text = "x" * (FREE + COLUMNS - 1) + "。[2 Bob] "
    # The wide character does not fit into the last column, and begins the row itself.
    assert with_marked_rows(text, LABEL, COLUMNS) == text
    text = " " * (FREE + COLUMNS) + "[2 Bob] hello" + " " * 27 + "[3 Eve] hello"
    assert with_marked_rows(text, LABEL, COLUMNS).count("⋮ [") == 1
    text = " " * (FREE + COLUMNS) + "[2 Bob] hello" + " " * 25 + "[3 Eve] hello"
    assert with_marked_rows(text, LABEL, COLUMNS).count("⋮ [") == 2


@pytest.mark.parametrize(
    "text",
    [
        "[2 Bob] hello",
        "a long address " * 20,
        "x" * 400,
        "[" + "x" * 50,
        "x" * FREE + "(no) 一 - 2",
    ],
)
def test_others_are_shown_as_they_are(text: str) -> None:
    assert with_marked_rows(text, LABEL, COLUMNS) == text
