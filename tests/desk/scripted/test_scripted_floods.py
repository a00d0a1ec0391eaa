"""Callers who say more than they may: nothing of it is lost, and no other caller is held up."""

from pathlib import Path

import pytest

from tests.desk.kit import Desk

from .kit import endings, kept


@pytest.mark.parametrize("blank", ["\n", "\r\n", " \t\r\n", "\u200b\n"])
def test_empty_and_blank_lines_say_nothing_and_are_neither_shown_nor_kept(
    tmp_path: Path, engine: str, blank: str
) -> None:
    rate = ("--line-burst", "20000")
    with Desk(tmp_path, "--engine", engine, *rate) as desk, desk.call() as caller:
        caller.says(blank * 5000 + f"hello\n{blank}{blank}again\n" + blank * 5000 + "byebye\n")
        desk.shows("has left: said byebye$")
    assert [line.partition("] ")[2] for line in desk.output if line.startswith("[")] == [
        "hello",
        "again",
        "byebye",
    ]
    assert [text for _, text in kept(tmp_path)[0]] == ["hello", "again", "byebye", "byebye"]


def test_what_a_caller_says_beyond_its_rate_is_heard_later_and_nothing_is_lost(
    tmp_path: Path, engine: str
) -> None:
    rate = ("--max-line-rate", "1000", "--line-burst", "5")
    with Desk(tmp_path, "--engine", engine, *rate) as desk, desk.call() as caller:
        caller.says("".join(f"line {number}\n" for number in range(300)))
        desk.shows("says more than 1000 lines a second: the rest is heard later$")
        assert (
            caller.hears()
            == "desk: you say more than 1000 lines a second; what is more is heard later"
        )
        desk.shows("line 299$")
        caller.says("byebye\n")
        assert caller.hears() == "byebye"
    said = [text for direction, text in kept(tmp_path)[0] if direction == "in"]
    assert said == [*(f"line {number}" for number in range(300)), "byebye"]


def test_a_caller_that_is_not_heard_for_now_can_be_kicked_and_holds_up_no_other(
    tmp_path: Path, engine: str
) -> None:
    rate = ("--max-line-rate", "0.001", "--line-burst", "1")
    with Desk(tmp_path, "--engine", engine, *rate) as desk, desk.takes_a_call() as flooder:
        flooder.says("one\ntwo\n")
        desk.shows("the rest is heard later$")
        with desk.takes_a_call() as other:
            other.says("hello")
            desk.shows(r"\[2 .*\] hello$")
        desk.enters("/kick 1")
        desk.shows("^-- 1 .* has left: kicked$")
        assert endings(tmp_path)[0] == "kicked"


def test_a_desk_closes_while_a_caller_is_not_heard_for_now(tmp_path: Path, engine: str) -> None:
    rate = ("--max-line-rate", "0.001", "--line-burst", "1")
    with Desk(tmp_path, "--engine", engine, *rate) as desk, desk.takes_a_call() as flooder:
        flooder.says("one\ntwo\n")
        desk.shows("the rest is heard later$")
        desk.enters("/quit")
        assert desk.ends() == 0


def test_a_name_that_cannot_be_had_freezes_no_desk_whose_output_is_behind(
    tmp_path: Path, engine: str
) -> None:
    arguments = ("--engine", engine, "--line-burst", "100000")
    with Desk(tmp_path, *arguments) as desk, desk.takes_a_call() as flooder:
        with desk.takes_a_call() as bad:
            flooder.says(("x" * 900 + "\n") * 2000)
            bad.says("/name 123\n" * 50)
            # Its own lines, between two of a name that cannot be had.
            bad.says("still here\n" + "/name 123\n" * 50)
            desk.shows(r"^\[2 .*\] still here$")
        with desk.takes_a_call() as other:
            other.says("hello")
            desk.shows(r"^\[3 .*\] hello$")
