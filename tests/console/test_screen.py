"""The screen, driven by keys and the mouse, against a server on a real socket."""

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from textual.screen import ModalScreen
from textual.widgets._footer import FooterKey

from tests.console.kit import Screen, look
from tests.console.scripted import Scripted, connection, server


@pytest.fixture
def scripted(tmp_path: Path) -> Iterator[Scripted]:
    with Scripted(tmp_path / "control.sock") as scripted:
        yield scripted


def numbers(screen: Screen) -> list[str]:
    """Return the numbers of the connections in the table."""
    return [row.split()[0] for row in screen.table() if row.strip()]


def is_full(screen: Screen) -> int:
    """Return how many rows are in the table, once it has as many as there is room for; 0 until then."""
    room = screen.app.query_one("#connections").size.height - 1
    # The processor's load comes with the second look.
    return room if "processor" in screen.text() and len(numbers(screen)) == room else 0


def under_the_cursor(screen: Screen) -> str:
    """Return the number of the connection under the cursor."""
    table = screen.app.query_one("#connections")
    return numbers(screen)[table.cursor_row]


def test_the_books_and_the_connections_are_on_the_screen(scripted: Scripted) -> None:
    scripted.servers = [server(closed={"idle": 4, "refused_full": 2})]

    async def scenario(screen: Screen) -> None:
        await screen.sees("serve shop:Echo", "open 3   accepted 9   closed 6   refused 2", "full 2")
        await screen.sees("3 connections", "10.0.0.1:40001", "10.0.0.3:40003")

    assert look(scripted.place, scenario) is None


def test_what_changes_is_seen(scripted: Scripted) -> None:
    async def scenario(screen: Screen) -> None:
        await screen.sees("10.0.0.2:40002")
        scripted.connections[1] = connection(2, peer="10.9.9.9:1")
        await screen.sees("10.9.9.9:1")
        scripted.connections.clear()
        await screen.sees("0 connections", "open 0")
        assert numbers(screen) == []
        scripted.connections.append(connection(7))
        await screen.until(lambda: numbers(screen) == ["7"])

    look(scripted.place, scenario)


def test_only_cells_that_change_are_drawn_anew(
    scripted: Scripted, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def scenario(screen: Screen) -> None:
        await screen.sees("10.0.0.3:40003")
        table = screen.app.query_one("#connections")
        updated = []
        update = table.update_cell
        monkeypatch.setattr(
            table, "update_cell", lambda *cell: (updated.append(cell[:2]), update(*cell))
        )
        monkeypatch.setattr(table, "clear", lambda **_: pytest.fail("the table was built anew"))
        scripted.connections[1] = connection(2, **{"in": 5_000_000})
        await screen.sees("5.0 MB")
        assert len(updated) == 1

    look(scripted.place, scenario)


def test_the_server_is_asked_for_as_many_rows_as_there_is_room_for(scripted: Scripted) -> None:
    scripted.connections = [connection(number) for number in range(1, 201)]

    async def scenario(screen: Screen) -> None:
        await screen.sees("of 200 connections, page 1")
        height = await screen.until(lambda: is_full(screen))
        await screen.pilot.resize_terminal(120, 50)
        await screen.until(lambda: is_full(screen) == height + 20)
        await screen.pilot.resize_terminal(60, 20)
        await screen.until(lambda: 1 < is_full(screen) < height)

    look(scripted.place, scenario)


def test_pages_are_turned_by_keys_and_by_going_beyond_the_last_row(scripted: Scripted) -> None:
    scripted.connections = [connection(number) for number in range(1, 41)]

    async def scenario(screen: Screen) -> None:
        size = await screen.until(lambda: is_full(screen))
        screen.presses("pagedown")
        await screen.until(lambda: numbers(screen)[0] == str(size + 1))
        await screen.until(lambda: under_the_cursor(screen) == str(size + 1))
        await screen.sees("page 2")
        screen.presses("up")
        await screen.until(lambda: numbers(screen)[0] == "1")
        # The cursor is where the person came from.
        await screen.until(lambda: under_the_cursor(screen) == str(size))
        screen.presses("down")
        await screen.until(lambda: under_the_cursor(screen) == str(size + 1))
        screen.presses("home")
        await screen.until(lambda: under_the_cursor(screen) == "1")
        screen.presses("pageup")
        assert numbers(screen)[0] == "1"

    look(scripted.place, scenario)


def test_the_cursor_stays_with_its_connection(scripted: Scripted) -> None:
    scripted.connections.append(connection(4))

    async def scenario(screen: Screen) -> None:
        await screen.until(lambda: len(numbers(screen)) == 4)
        screen.presses("down", "down")
        await screen.until(lambda: under_the_cursor(screen) == "3")
        scripted.connections.pop(0)
        await screen.until(lambda: numbers(screen) == ["2", "3", "4"])
        assert under_the_cursor(screen) == "3"

    look(scripted.place, scenario)


def test_the_server_sorts_by_the_column_that_keys_or_the_mouse_choose(scripted: Scripted) -> None:
    scripted.connections = [
        connection(number, **{"in": size}) for number, size in ((1, 20), (2, 300), (3, 1))
    ]

    async def scenario(screen: Screen) -> None:
        await screen.until(lambda: numbers(screen) == ["1", "2", "3"])
        screen.presses("r")
        await screen.until(lambda: numbers(screen) == ["3", "2", "1"])
        screen.presses("greater_than_sign")
        await screen.sees("by peer, rising")
        table = screen.app.query_one("#connections")
        heading = screen.rows()[table.region.y]
        await screen.pilot.click(table, offset=(heading.index(" in") + 2, 0))
        await screen.until(lambda: numbers(screen) == ["2", "1", "3"])
        await screen.sees("by in, falling", "▼in")
        screen.presses("less_than_sign")
        await screen.sees("by silent, falling")

    look(scripted.place, scenario)


def test_the_server_filters_by_the_words_that_are_typed(scripted: Scripted) -> None:
    scripted.connections = [
        connection(1, rooms=["red"]),
        connection(2, silent=600.0),
        connection(3, peer="192.0.2.7:99", rooms=["red"], silent=600.0),
    ]

    async def scenario(screen: Screen) -> None:
        await screen.until(lambda: len(numbers(screen)) == 3)
        for words, found in (("room:red", ["1", "3"]), ("idle:5m", ["2", "3"]), ("192.0", ["3"])):
            screen.presses("slash")
            await screen.sees("show only those that have")
            await screen.types(words)
            await screen.until(lambda found=found: numbers(screen) == found)
            await screen.sees(f"filter {words}", "3 open")
        screen.presses("escape")
        await screen.until(lambda: len(numbers(screen)) == 3)
        await screen.sees_no("filter 192")

    look(scripted.place, scenario)


def test_a_filter_that_cannot_be_meant_is_told_where_it_is_typed(scripted: Scripted) -> None:
    async def scenario(screen: Screen) -> None:
        await screen.until(lambda: len(numbers(screen)) == 3)
        screen.presses("slash")
        await screen.types("idle:long")
        await screen.sees("idle: takes seconds, or 5m, 2h, not 'long'")
        screen.presses("escape")
        await screen.sees_no("idle: takes")
        assert len(numbers(screen)) == 3

    look(scripted.place, scenario)


def test_what_the_server_refuses_to_list_is_told(scripted: Scripted) -> None:
    async def scenario(screen: Screen) -> None:
        await screen.sees("3 connections")
        screen.app.model.view.order("colour")
        screen.presses("home")
        await screen.sees("connections are not sorted by 'colour'", "open 3")

    look(scripted.place, scenario)


def test_one_connection_is_shown_with_its_stack_as_it_is_now(scripted: Scripted) -> None:
    scripted.connections[1] |= {"rooms": ["red"], "rooms_total": 1001}
    scripted.stack = ["server.py:10 in serve", "shop.py:7 in [bold]handle\x1b[0m"]

    async def scenario(screen: Screen) -> None:
        await screen.until(lambda: len(numbers(screen)) == 3)
        screen.presses("down", "enter")
        await screen.sees(
            "connection 2", "red, 1,000 more", "idle_timeout 1 m 00 s", "server.py:10 in serve"
        )
        await screen.sees(r"shop.py:7 in [bold]handle\x1b[0m")
        scripted.stack = ["shop.py:9 in wait"]
        await screen.sees("shop.py:9 in wait")
        scripted.connections.pop(1)
        await screen.sees("there is no connection 2: it ended 1 s ago, kicked")
        screen.presses("escape")
        await screen.sees_no("it ended")
        assert screen.app.model.details_of is None

    look(scripted.place, scenario)


def test_a_connection_is_closed_after_a_question(scripted: Scripted) -> None:
    async def scenario(screen: Screen) -> None:
        await screen.until(lambda: len(numbers(screen)) == 3)
        for no in ("n", "escape", "enter"):
            screen.presses("down", "x")
            await screen.sees("Close connection", "peer 10.0.0.")
            screen.presses(no)
            await screen.sees_no("Close connection")
        assert scripted.asked == []
        screen.presses("x")
        await screen.sees("Close connection 3?")
        screen.presses("y")
        await screen.until(lambda: numbers(screen) == ["1", "2"])
        await screen.sees("connection 3 is closed")

    look(scripted.place, scenario)
    assert scripted.asked == [("connections.close", {"id": "3"})]


def test_the_question_is_about_the_connection_that_was_under_the_cursor(scripted: Scripted) -> None:
    async def scenario(screen: Screen) -> None:
        await screen.until(lambda: len(numbers(screen)) == 3)
        screen.presses("x")
        await screen.sees("Close connection 1?")
        scripted.connections.pop(0)
        await screen.until(lambda: [each.id for each in screen.app.model.connections] == ["2", "3"])
        screen.presses("y")
        await screen.sees("there is no connection 1: it ended 1 s ago, kicked")

    look(scripted.place, scenario)
    assert [each["id"] for each in scripted.connections] == ["2", "3"]


def test_the_details_lead_to_the_question_too(scripted: Scripted) -> None:
    async def scenario(screen: Screen) -> None:
        await screen.until(lambda: len(numbers(screen)) == 3)
        screen.presses("enter")
        await screen.sees("close it")
        screen.presses("x")
        await screen.sees("Close connection 1?")
        await screen.pilot.click("#yes")
        await screen.until(lambda: numbers(screen) == ["2", "3"])
        # The key had one question asked, not another one beneath it.
        await screen.sees_no("Close connection")

    look(scripted.place, scenario)


def test_listeners_are_suspended_and_resumed(scripted: Scripted) -> None:
    scripted.servers = [server(1), server(2)]

    async def scenario(screen: Screen) -> None:
        await screen.sees("all 2 servers")
        screen.presses("s")
        await screen.sees("suspend 127.0.0.1:8008", "suspend 127.0.0.1:8009", "suspend all")
        screen.presses("down", "enter")
        await screen.sees("suspended: 127.0.0.1:8009", "127.0.0.1:8009 suspended")
        screen.presses("s")
        await screen.sees("resume 127.0.0.1:8009", "resume all")
        screen.presses("escape")
        screen.presses("v", "v")
        await screen.sees("server 2: ")
        screen.presses("s")
        await screen.sees_no("8008")
        screen.presses("enter")
        await screen.sees("accepts clients: 127.0.0.1:8009")

    look(scripted.place, scenario)
    one = {"listener": "127.0.0.1:8009", "server": 2}
    assert scripted.asked == [("listeners.suspend", one), ("listeners.resume", one)]


def test_a_limit_is_adjusted_and_a_value_that_does_not_fit_is_told(scripted: Scripted) -> None:
    async def scenario(screen: Screen) -> None:
        await screen.sees("3 connections")
        for value, said in (
            ("50", "max_connections is 50 now"),
            ("many", "max_connections must be a whole number, not 'many'"),
        ):
            screen.presses("l")
            await screen.sees("the most connections at once")
            screen.presses("enter")
            await screen.sees("usually 10000 connections")
            await screen.types(value)
            await screen.sees(said)
        screen.presses("l")
        await screen.sees("the most connections at once")
        screen.presses("enter")
        await screen.types(" ")
        await screen.sees("the value is missing; none takes a limit away")

    look(scripted.place, scenario)
    assert scripted.limits[0]["value"] == 50


def test_a_room_is_told_a_line(scripted: Scripted) -> None:
    scripted.rooms = [
        {"server": 1, "room": "blue", "members": 1},
        {"server": 1, "room": "[red]", "members": 2},
    ]

    async def scenario(screen: Screen) -> None:
        await screen.sees("3 connections")
        screen.presses("t")
        await screen.sees("1  blue", "2  [red]")
        screen.presses("down", "enter")
        await screen.sees("to all in the room [red]")
        await screen.types("你好 [bold]")
        await screen.sees("told 2 in the room [red]")

    look(scripted.place, scenario)
    told = {"room": "[red]", "text": "你好 [bold]\n", "server": 1}
    assert scripted.asked[-1] == ("rooms.tell", told)


def test_a_room_that_is_not_among_those_that_are_listed_is_told_by_its_name(
    scripted: Scripted,
) -> None:
    scripted.rooms = [{"server": 1, "room": "blue", "members": 1}]
    scripted.rooms_total = 80_000

    async def scenario(screen: Screen) -> None:
        await screen.sees("3 connections")
        screen.presses("t")
        await screen.sees("another room, of 79,999 more: type its name", "1  blue")
        screen.presses("enter")
        await screen.sees("which room")
        await screen.types("moor")
        await screen.sees("to all in the room moor")
        await screen.types("hello")
        await screen.sees("told 2 in the room moor")

    look(scripted.place, scenario)
    assert scripted.asked[-1] == ("rooms.tell", {"room": "moor", "text": "hello\n"})


def test_a_socket_for_reading_shows_no_keys_that_write(tmp_path: Path) -> None:
    async def scenario(screen: Screen) -> None:
        await screen.sees("reading only", "l limits", "filter")
        keys = screen.rows()[-1]
        assert [word for word in ("close", "suspend", "tell") if word in keys] == []
        screen.presses("x", "s", "t", "enter")
        await screen.sees("connection 1")
        screen.presses("x")
        screen.presses("escape")
        await screen.sees_no("deadlines")
        screen.presses("l")
        await screen.sees("which cannot be set over this socket")
        screen.presses("enter")
        await screen.sees_no("which cannot be set")

    with Scripted(tmp_path / "control.sock", may=["read"]) as scripted:
        look(scripted.place, scenario)
    assert [verb for verb, _ in scripted.asked] == ["limits.get"]


def test_keys_for_verbs_that_a_server_does_not_have_are_not_shown(scripted: Scripted) -> None:
    scripted.verbs = tuple(verb for verb in scripted.verbs if not verb.startswith("rooms"))

    async def scenario(screen: Screen) -> None:
        await screen.sees("3 connections", "l limits")
        assert "tell" not in screen.rows()[-1]

    look(scripted.place, scenario)


def test_the_keys_are_made_anew_only_when_they_are_others(scripted: Scripted) -> None:
    def keys(screen: Screen) -> list[FooterKey]:
        return list(screen.app.query(FooterKey))

    async def scenario(screen: Screen) -> None:
        await screen.sees("3 connections", "t tell")
        before = keys(screen)
        for number in range(4, 8):
            scripted.connections.append(connection(number))
            await screen.sees(f"{number} connections")
        # One that is made anew is another widget.
        assert keys(screen) == before
        # Over the dialog that the change finds open, and below it.
        screen.presses("l")
        await screen.sees("the most connections at once")
        scripted.servers = [server(), server(2)]
        await screen.sees("all 2 servers")
        screen.presses("escape")
        await screen.sees("v server")

    look(scripted.place, scenario)


def test_a_server_that_ends_and_comes_back_is_said_and_followed(scripted: Scripted) -> None:
    async def scenario(screen: Screen) -> None:
        await screen.sees("process 71", "3 connections")
        screen.presses("x")
        await screen.sees("Close connection 1?")
        scripted.end()
        await screen.until(lambda: screen.app.model.trouble)
        scripted.hello |= {"pid": 72, "started": "2026-03-01T13:00:00+00:00"}
        scripted.begin()
        await screen.sees("process 72", "the server has been started anew")
        # What was asked was about another process.
        await screen.sees_no("Close connection")
        screen.presses("y")
        await screen.until(lambda: len(numbers(screen)) == 3)

    look(scripted.place, scenario)
    assert scripted.asked == []


def test_the_last_figures_stay_while_the_server_is_away_and_it_is_said(scripted: Scripted) -> None:
    async def scenario(screen: Screen) -> None:
        await screen.until(lambda: len(numbers(screen)) == 3)
        scripted.end()
        await screen.until(lambda: screen.app.model.trouble)
        assert screen.app.model.trouble[:40] in screen.text()
        assert len(numbers(screen)) == 3

    look(scripted.place, scenario)


def test_names_of_peers_and_handlers_are_shown_and_not_obeyed(scripted: Scripted) -> None:
    hostile = "[red]\x1b[2J\x1b]0;x\x07[/red] [/]"
    scripted.hello["name"] = hostile
    scripted.servers = [server(closed={hostile: 1}, handler=hostile)]
    scripted.connections = [connection(1, peer=hostile, handler=hostile, rooms=[hostile])]
    shown = r"[red]\x1b[2J\x1b]0;x\x07[/red] [/]"

    async def scenario(screen: Screen) -> None:
        await screen.sees(shown, "1 connection")
        assert shown[:20] in screen.table()[0]
        screen.presses("enter")
        await screen.sees(f"peer           {shown}")
        screen.presses("x")
        await screen.sees("Close connection 1?", f"handler {shown}")

    look(scripted.place, scenario, size=(220, 40))


def test_chinese_names_leave_the_table_straight(scripted: Scripted) -> None:
    scripted.connections = [connection(1, handler="王小明的处理器"), connection(2, handler="Echo")]

    async def scenario(screen: Screen) -> None:
        await screen.until(lambda: len(numbers(screen)) == 2)
        first, second = screen.table()[:2]
        before = first[: first.index("open")]
        assert second.index("open") == len(before) + sum("一" <= each <= "鿿" for each in before)

    look(scripted.place, scenario, size=(100, 30))


@pytest.mark.parametrize("size", [(250, 60), (80, 24), (40, 12), (20, 6), (5, 3), (1, 1)])
def test_a_terminal_of_any_size_will_do(scripted: Scripted, size: tuple[int, int]) -> None:
    async def scenario(screen: Screen) -> None:
        await screen.until(lambda: screen.app.model.page is not None)
        for key in ("question_mark", "slash", "l", "x"):
            screen.presses(key, "escape")
        await screen.pilot.resize_terminal(*reversed(size))
        await screen.pilot.pause()

    look(scripted.place, scenario, size)


def test_help_names_each_key_that_the_screen_has(scripted: Scripted) -> None:
    async def scenario(screen: Screen) -> None:
        await screen.sees("3 connections")
        screen.presses("question_mark")
        await screen.sees("what the system does not tell")
        text = screen.text()
        for key in (
            "Enter",
            "PgDn",
            "< >",
            " r ",
            " / ",
            " v ",
            " x ",
            " s ",
            " l ",
            " t ",
            "q, Ctrl-C",
        ):
            assert key in text
        screen.presses("q")
        await screen.sees_no("what the system does not tell")

    look(scripted.place, scenario, size=(120, 50))


@pytest.mark.parametrize("key", ["q", "ctrl+c"])
@pytest.mark.parametrize("before", [(), ("slash",), ("question_mark",), ("x",)])
def test_a_key_leaves(scripted: Scripted, key: str, before: tuple[str, ...]) -> None:
    async def scenario(screen: Screen) -> None:
        await screen.until(lambda: len(numbers(screen)) == 3)
        for each in before:
            screen.presses(each)
            await screen.until(lambda: isinstance(screen.app.screen, ModalScreen))
            if key == "q":
                screen.presses("escape")
                await screen.until(lambda: not isinstance(screen.app.screen, ModalScreen))
        screen.presses(key)
        await screen.until(lambda: screen.app.return_value is not None)

    assert look(scripted.place, scenario) == 0


def test_an_answer_that_comes_late_opens_nothing_over_what_was_begun_meanwhile(
    scripted: Scripted,
) -> None:
    gate = threading.Event()

    async def scenario(screen: Screen) -> None:
        await screen.sees("3 connections")
        scripted.before_answer = lambda verb: gate.wait()
        screen.presses("l", "question_mark")
        await screen.sees("what the system does not tell")
        gate.set()
        await screen.until(lambda: scripted.asked)
        await screen.until(lambda: scripted.looks > 3)
        screen.presses("escape")
        await screen.sees_no("what the system does not tell")
        assert "limits" not in "\n".join(screen.rows()[:-1])

    look(scripted.place, scenario)
