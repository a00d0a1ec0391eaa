"""A long line of a caller's does not look like another caller's on the operator's screen."""

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


def test_so_is_one_further_down() -> None:
    text = "x" * (FREE + COLUMNS - 1) + "。[2 Bob] "
    # The wide character does not fit into the last column, and begins the row itself.
    assert with_marked_rows(text, LABEL, COLUMNS) == text
    text = " " * (FREE + COLUMNS) + "[2 Bob] hello" + " " * 27 + "[3 Eve] hello"
    assert with_marked_rows(text, LABEL, COLUMNS).count("⋮ [") == 1
    text = " " * (FREE + COLUMNS) + "[2 Bob] hello" + " " * 25 + "[3 Eve] hello"
    assert with_marked_rows(text, LABEL, COLUMNS).count("⋮ [") == 2


@pytest.mark.parametrize(
    "text", ["[2 Bob] hello", "a long address " * 20, "x" * 400, "[" + "x" * 50]
)
def test_others_are_shown_as_they_are(text: str) -> None:
    assert with_marked_rows(text, LABEL, COLUMNS) == text
