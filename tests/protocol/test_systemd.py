"""What systemd has given to a process, by its variables."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from manyhands.model.usage_errors import Mistake
from manyhands.protocol.systemd import GivenDescriptor, named, read, variables_of, watchdog_timeout

PID = 42


def variables(count: str, names: str | None = None, pid: str = "42") -> dict[str, str]:
    told = {"LISTEN_PID": pid, "LISTEN_FDS": count}
    return told if names is None else told | {"LISTEN_FDNAMES": names}


def test_the_descriptors_begin_at_three_and_have_their_names() -> None:
    assert read(variables("2", "web:log"), PID) == (
        GivenDescriptor(3, "web"),
        GivenDescriptor(4, "log"),
    )


def test_an_old_systemd_gives_no_names() -> None:
    assert read(variables("2"), PID) == (
        GivenDescriptor(3, "unknown"),
        GivenDescriptor(4, "unknown"),
    )


def test_several_sockets_may_share_a_name() -> None:
    given = read(variables("3", "web:log:web"), PID)
    assert [one.number for one in named(given, "web")] == [3, 5]
    assert [one.number for one in named(given, "log")] == [4]
    assert named(given, "") == given


def test_a_name_that_none_has_is_answered_with_those_that_there_are() -> None:
    with pytest.raises(Mistake) as caught:
        named(read(variables("3", "web:log:web"), PID), "mail")
    assert str(caught.value) == (
        "no socket of the name 'mail' was given to this process, only 'web', 'log'"
    )


@pytest.mark.parametrize(
    ("told", "sentence"),
    [
        ({}, "this process was given no sockets, for LISTEN_FDS is not set: systemd sets it for a"),
        ({"LISTEN_FDS": "1"}, "LISTEN_PID must be a number, not ''"),
        (variables("1", pid="41"), ("the sockets of LISTEN_FDS were given to process 41, and this is "
         "process 42: what starts it in between, such as a shell, has to `exec` it")),
        (variables("1", pid="x"), "LISTEN_PID must be a number, not 'x'"),
        (variables("1", pid="9" * 5000), "LISTEN_PID must be a number, not '9999"),
        (variables("0"), "this process was given no sockets, for LISTEN_FDS is 0"),
        (variables("65537"), "this process was given no sockets, for LISTEN_FDS is 65537"),
        (variables("-1"), "LISTEN_FDS must be a number, not '-1'"),
        (variables("\u0661"), "LISTEN_FDS must be a number, not '\u0661'"),
        (variables("2", "web"), "LISTEN_FDNAMES has 1 names for 2 sockets"),
        (variables("1", "web:log"), "LISTEN_FDNAMES has 2 names for 1 sockets"),
    ],
)  # fmt: skip
def test_what_makes_no_sense_is_one_sentence(told: dict[str, str], sentence: str) -> None:
    with pytest.raises(Mistake) as caught:
        read(told, PID)
    assert str(caught.value).startswith(sentence)


texts = st.text(st.characters(exclude_characters="\0"), max_size=12) | st.integers().map(str)


@given(count=texts, names=st.none() | texts, pid=st.just("42") | texts)
def test_whatever_the_variables_are_there_are_descriptors_or_a_sentence(
    count: str, names: str | None, pid: str
) -> None:
    try:
        given = read(variables(count, names, pid), PID)
    except Mistake:
        return
    assert [one.number for one in given] == list(range(3, 3 + int(count)))


@pytest.mark.parametrize(
    ("variables", "seconds"),
    [
        ({}, None),
        ({"WATCHDOG_USEC": "30000000"}, 30.0),
        ({"WATCHDOG_USEC": "500000", "WATCHDOG_PID": "42"}, 0.5),
        ({"WATCHDOG_USEC": "30000000", "WATCHDOG_PID": "41"}, None),
        ({"WATCHDOG_USEC": "30000000", "WATCHDOG_PID": ""}, None),
        ({"WATCHDOG_PID": "42"}, None),
        ({"WATCHDOG_USEC": "0", "WATCHDOG_PID": "42"}, None),
        ({"WATCHDOG_USEC": "soon"}, None),
        ({"WATCHDOG_USEC": "-1"}, None),
        ({"WATCHDOG_USEC": str(2**64 - 1)}, None),
    ],
)
def test_a_word_is_due_within_the_time_that_the_variables_say(
    variables: dict[str, str], seconds: float | None
) -> None:
    assert watchdog_timeout(variables, 42) == seconds


@pytest.mark.parametrize("names", ["web", "web:web:admin", ":", "unknown"])
def test_what_was_read_can_be_told_to_another_program(names: str) -> None:
    count = str(names.count(":") + 1)
    variables = {"LISTEN_PID": "4711", "LISTEN_FDS": count, "LISTEN_FDNAMES": names}
    assert variables_of(read(variables, 4711), 4711) == variables
    assert variables_of((), 4711) == {}
