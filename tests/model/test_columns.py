"""Tables stay straight whatever stands in them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from manyhands.model.columns import cut, padded, width


@pytest.mark.parametrize(
    ("text", "columns"),
    [
        ("", 0),
        ("hello", 5),
        ("王小明", 6),
        ("Åsa", 3),
        ("A\u030asa", 3),
        ("a\u200db", 2),
        ("\uff57", 2),
    ],
)
def test_wide_characters_take_two_columns_and_marks_none(text: str, columns: int) -> None:
    assert width(text) == columns


@pytest.mark.parametrize(
    ("text", "columns", "shown"),
    [
        ("hello", 5, "hello"),
        ("hello!", 5, "hell…"),
        ("王小明", 6, "王小明"),
        ("王小明", 5, "王小…"),
        # Half of a wide character does not fit.
        ("王小明", 4, "王…"),
        ("王小明", 1, "…"),
        ("a\u0301bc", 2, "a\u0301…"),
    ],
)
def test_what_is_too_wide_is_cut_and_an_ellipsis_says_so(
    text: str, columns: int, shown: str
) -> None:
    assert cut(text, columns) == shown


def test_a_letter_with_a_thousand_marks_is_cut_too() -> None:
    assert len(cut("e" + "\u0301" * 1000, 5)) <= 41


def test_figures_stand_at_the_right() -> None:
    assert padded("12", 4, right=True) + padded("王", 4) + "|" == "  12王  |"


@given(st.text(st.characters(exclude_categories=["Cs", "Cc"])), st.integers(1, 20))
def test_a_padded_text_has_its_width_always(text: str, columns: int) -> None:
    assert width(padded(text, columns)) == columns
    assert width(padded(text, columns, right=True)) == columns
