"""What stands above the connections."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from manyhands.console.figures import status
from manyhands.console.look import Snapshot
from manyhands.console.model import Model
from manyhands.console.spans import columns_of, fitted, flow, labelled, span, text_of
from manyhands.console.view import View
from manyhands.control.client import Hello
from manyhands.model.escaping import escape
from tests.console.scripted import server

HELLO = Hello(
    "0.1", 71, "2026-03-01T12:00:00+00:00", "server", "serve shop:Echo", ("read", "write")
)


def snapshot(
    at: float, *servers: dict[str, object], hello: Hello = HELLO, **more: object
) -> Snapshot:
    process = {"cpu_seconds": at / 2, "rss": 45e6, "descriptors": 1000, "descriptor_limit": 1024}
    told = {"uptime": 3725.0, "servers": [*servers], "process": process, **more}
    return Snapshot(session=1, at=at, hello=hello, status=status(told))


def shown(*snapshots: Snapshot, columns: int = 120, scope: int | None = None) -> str:
    """Return the summary after some looks."""
    model = Model(View())
    for each in snapshots:
        model.take(each)
    model.view.limit_to(scope)
    return "\n".join(map(text_of, model.summary(columns, 100)))


def counted(number: int = 1, **more: object) -> dict[str, object]:
    still_open = {"open": 40, "handshaking": 2}
    return server(
        number, accepted=1250, open=still_open, closed={"idle": 1200, "refused_full": 8}, **more
    )


def test_nothing_is_shown_before_there_is_something() -> None:
    assert shown() == ""


def test_the_books_the_process_and_the_reasons_are_shown() -> None:
    text = shown(snapshot(1.0, counted(rooms=3)))
    assert "serve shop:Echo   process 71   up 1 h 02 m   manyhands 0.1" in text
    assert "open 42   accepted 1,250   closed 1,208   refused 8   rooms 3   handshaking 2" in text
    assert "refused:   full 8" in text
    assert "ended:   idle 1,200" in text
    assert "memory 45 MB   descriptors 1,000 of 1,024" in text
    assert "127.0.0.1:8008 waiting 0 of 128" in text


def test_rates_have_what_they_were_beside_them() -> None:
    looks = [snapshot(float(n), server(accepted=n * n, open={"open": n * n})) for n in range(1, 6)]
    [rates] = [row for row in shown(*looks).splitlines() if row.startswith("accepted/s")]
    assert rates.startswith("accepted/s    9.0          ▃▄▆█ ")


def test_bytes_are_shown_where_the_server_adds_them_up() -> None:
    assert "in/s" not in shown(snapshot(1.0, counted()), snapshot(2.0, counted()))
    looks = [snapshot(float(n), counted(bytes_in=n * 1500, bytes_out=n)) for n in (1, 2)]
    text = shown(*looks, columns=200)
    assert "in/s 1.5 kB" in text
    assert "out/s    1 B" in text


def test_workers_are_counted_and_those_that_do_not_answer_stand_out() -> None:
    workers = [{"number": n, "state": "serving" if n < 4 else "draining"} for n in range(1, 5)]
    told = snapshot(1.0, counted(), workers=workers, generation=7, missing=[2, 3])
    assert "workers 4   draining 1   generation 7   not answering 2, 3" in shown(told)
    assert "workers" not in shown(snapshot(1.0, counted()))


def test_a_slow_hub_and_a_full_engine_stand_out() -> None:
    engines = [
        {"name": "fibers", "running": 10, "limit": 10, "hub_delay": 0.25},
        {"name": "threads", "running": 1, "limit": None, "hub_delay": None},
    ]
    model = Model(View())
    model.take(snapshot(1.0, counted(engines=engines)))
    spans = [each for line in model.summary(200, 100) for each in line]
    styles = {each.text.strip(): each.style for each in spans}
    assert styles["10 of 10"] == "bad"
    assert styles["██████████"] == "drawn"
    assert styles["250 ms"] == "bad"
    assert "threads 1" in "\n".join(map(text_of, model.summary(200, 100)))


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ({"is_draining": True}, "draining"),
        ({"listeners": [{"address": "[::]:80", "is_suspended": True}]}, "[::]:80 suspended"),
        ({"listeners": [{"address": "[::]:53", "dropped": 9}]}, "[::]:53 lost 9"),
        ({"dropped": {"refused_too_fast": 4}}, "datagrams dropped:   too_fast 4"),
    ],
)
def test_what_is_out_of_the_ordinary_is_said(more: dict[str, object], said: str) -> None:
    assert said not in shown(snapshot(1.0, counted()))
    assert said in shown(snapshot(1.0, counted(**more)))


def test_a_socket_for_reading_is_said_to_be_one() -> None:
    assert "reading only" not in shown(snapshot(1.0, counted()))
    assert "reading only" in shown(snapshot(1.0, counted(), hello=HELLO._replace(may=("read",))))


def test_several_servers_are_summed_up_or_shown_one_by_one() -> None:
    told = snapshot(1.0, counted(1), counted(2, kind="TCPServer", handler="Time"))
    assert "all 2 servers" in shown(told)
    assert "open 84   accepted 2,500" in shown(told)
    assert "1: threads 3 of 10" in shown(told, columns=200)
    assert "server 2: TCPServer, Time" in shown(told, scope=2)
    assert "open 42   accepted 1,250" in shown(told, scope=2)


def test_each_server_has_its_own_history() -> None:
    def at(number: int) -> Snapshot:
        busy = server(2, accepted=100 * number, open={"open": 100 * number})
        return snapshot(float(number), counted(1), busy)

    looks = [at(number) for number in (1, 2)]
    assert "accepted/s      0" in shown(*looks, scope=1)
    assert "accepted/s    100" in shown(*looks, scope=2)
    assert "accepted/s    100" in shown(*looks)


def test_a_server_that_has_gone_is_not_shown_alone_any_more() -> None:
    model = Model(View())
    model.take(snapshot(1.0, counted(1), counted(2)))
    model.next_scope()
    model.next_scope()
    assert model.view.scope == 2
    model.take(snapshot(2.0, counted(1)))
    assert model.view.scope is None


def test_a_process_of_another_number_has_no_history_yet() -> None:
    model = Model(View())
    model.take(snapshot(1.0, server(accepted=5, open={"open": 5})))
    after = snapshot(2.0, server(accepted=0, open={}))
    model.take(Snapshot(session=2, at=2.0, hello=HELLO._replace(pid=72), status=after.status))
    assert "accepted/s      -" in "\n".join(map(text_of, model.summary(120, 100)))
    assert model.said == "the server has been started anew: process 72, serve shop:Echo"


def test_on_a_low_terminal_the_first_lines_are_shown() -> None:
    model = Model(View())
    model.take(snapshot(1.0, counted()))
    assert model.summary(120, 2) == model.summary(120, 100)[:2]


@given(st.text(max_size=60), st.integers(1, 130))
def test_no_line_is_wider_than_the_terminal(text: str, columns: int) -> None:
    hello = HELLO._replace(name=text, version=text)
    listeners = [{"address": text, "is_suspended": True, "waiting": 1, "backlog": 1}]
    engines = [{"name": text, "running": 5, "limit": 5}]
    told = counted(handler=text, kind=text, listeners=listeners, engines=engines, dropped={text: 1})
    model = Model(View())
    model.take(snapshot(1.0, told, hello=hello))
    for line in model.summary(columns, 100):
        assert columns_of(line) <= columns
        assert escape(text_of(line)) == text_of(line)


def test_what_does_not_fit_beside_the_others_stands_on_the_next_line() -> None:
    items = [labelled("a", 1), labelled("bb", 22), (span("王小明"),)]
    assert [text_of(line) for line in flow(items, 11)] == ["a 1   bb 22", "王小明"]
    assert [text_of(line) for line in flow(items, 5)] == ["a 1", "bb 22", "王小…"]


def test_a_line_is_cut_in_the_piece_that_does_not_fit() -> None:
    line = (span("accepted "), span("1,234", "strong"), span("!"))
    assert fitted(line, 12) == (span("accepted "), span("1,…", "strong"))
    assert fitted(line, 15) == line
    assert fitted(line, 9) == line[:1]
