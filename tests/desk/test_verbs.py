"""What the operator types, and what callers say to the desk itself."""

import pytest

from manyhands.desk import messages, operator
from manyhands.desk.operator import NotUnderstood, Order


@pytest.mark.parametrize(
    ("line", "order"),
    [
        ("hello there", Order(None, "hello there")),
        ("  indented", Order(None, "  indented")),
        ("//etc/passwd", Order(None, "/etc/passwd")),
        ("//", Order(None, "/")),
        ("/to 3", Order("/to", "3")),
        ("/to  Anna Maria ", Order("/to", "Anna Maria")),
        ("/all  good  morning", Order("/all", "good  morning")),
        ("/all one\ntwo", Order("/all", "one\ntwo")),
        ("/kick 3", Order("/kick", "3")),
        ("/encoding Anna Maria gbk", Order("/encoding", "Anna Maria gbk")),
        ("/list ", Order("/list")),
        ("/help", Order("/help")),
        ("/quit", Order("/quit")),
        ("", None),
        ("   ", None),
    ],
)
def test_a_line_is_an_order(line: str, order: Order | None) -> None:
    assert operator.parse(line) == order


@pytest.mark.parametrize(
    ("line", "why"),
    [
        ("/to", "/to needs more: /to N"),
        ("/all ", "/all needs more: /all TEXT"),
        ("/kick", "/kick needs more: /kick N"),
        ("/list all", "/list stands alone"),
        ("/quit now", "/quit stands alone"),
        (
            "/nope",
            "there is no verb /nope, only /all, /encoding, /help, /kick, /list, /quit, /to; ",
        ),
        ("/nope", "a line that begins with a slash is typed with two, //nope"),
        ("/", "there is no verb /, only"),
        ("/TO 3", "there is no verb /TO"),
    ],
)
def test_a_line_that_is_no_order_is_explained_in_one_sentence(line: str, why: str) -> None:
    with pytest.raises(NotUnderstood) as caught:
        operator.parse(line)
    assert why in str(caught.value)
    assert "\n" not in str(caught.value)


def test_every_verb_is_in_the_help() -> None:
    for verb in operator.VERBS:
        assert any(line.startswith(verb) for line in operator.HELP), verb


@pytest.mark.parametrize(
    "line",
    [
        *("byebye", " ByeBye ", "BYEBYE\t", "byebye\r", "\u3000byebye\xa0", "byebye" + " " * 500),
        *(
            "byebye\0",
            "\ufeffbyebye",
            "byebye\u200b",
            "\uff42\uff59\uff45" * 2,
            "b\0y\0e\0b\0y\0e\0",
        ),
    ],
)
def test_a_caller_says_goodbye(line: str) -> None:
    assert messages.is_goodbye(line)


@pytest.mark.parametrize("line", ["byebye!", "bye bye", "", "no byebye", "byebye" + "x" * 9000])
def test_a_caller_says_no_goodbye(line: str) -> None:
    assert not messages.is_goodbye(line)


@pytest.mark.parametrize(
    ("line", "name"),
    [
        ("/name Anna", "Anna"),
        ("/name  Anna   Maria ", "Anna Maria"),
        ("/name", ""),
        ("\ufeff/name Anna", "Anna"),
        ("/name Anna\0", "Anna"),
        ("/names Anna", None),
        ("hello /name Anna", None),
        ("", None),
    ],
)
def test_a_caller_gives_a_name(line: str, name: str | None) -> None:
    assert messages.name_in(line) == name


@pytest.mark.parametrize(
    "line", ["", " ", "\t", "\r", "\v\f", "\u3000\xa0", "\u200b\u2060", "\ufeff", "\u2800\u3164"]
)
def test_a_blank_line_says_nothing(line: str) -> None:
    assert messages.says_nothing(line)


@pytest.mark.parametrize("line", [".", " a", "\0", "\x1b", "👍", "\u200b你"])
def test_any_other_line_says_something(line: str) -> None:
    assert not messages.says_nothing(line)
