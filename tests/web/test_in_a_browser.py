"""The page in a real browser, Debian's Chromium: what it shows, does and refuses."""

import re
import shutil
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import (
    Browser,
    BrowserContext,
    Error,
    Page,
    Request,
    Route,
    expect,
    sync_playwright,
)

from manyhands.server import Server
from manyhands.testing import call, everything, socket_address, wait_until
from tests.control.fleet_kit import supervised
from tests.support import Echo
from tests.support.waiting import PATIENCE

from .kit import HERE, TOKEN, Watched, connection, page_of, until_watched, watched

HOSTILE = "<img src=x onerror=\"document.title='taken'\"><script>document.title='taken'</script>"

REBOUND = "127.evil.example"
"""A name of an attacker's, which resolves to this machine."""

A_LINE = re.compile(r"^M[\d.]+ [\d.]+(L[\d.]+ [\d.]+)+$")
"""What draws a line from one point to others."""

EVENT = {"event": "ConnectionClosed", "at": "2026-11-30T01:02:03+00:00", "level": "info"}


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """One for all tests of this module."""
    program = shutil.which("chromium")
    assert program, "these tests need Debian's chromium: tools/system-packages.sh installs it"
    expect.set_options(timeout=1000 * PATIENCE)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=program, args=[f"--host-resolver-rules=MAP {REBOUND} 127.0.0.1"]
        )
        yield browser
        browser.close()


@pytest.fixture
def window(browser: Browser) -> Iterator[BrowserContext]:
    """A window of a browser that was never here; what its pages complain of fails the test."""
    with browser.new_context() as window:
        window.set_default_timeout(1000 * PATIENCE)
        complaints: list[str] = []
        window.on("weberror", lambda error: complaints.append(str(error.error)))
        window.on(
            "console",
            # That a request failed is said there too, and is what some tests are about.
            lambda message: (
                complaints.append(message.text)
                if message.type in {"error", "warning"} and "Failed to load" not in message.text
                else None
            ),
        )
        yield window
        assert complaints == []


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Watched]:
    # A page that hears nothing for a while says so.
    with watched(tmp_path) as server, server.telling():
        yield server


@contextmanager
def opened(
    window: BrowserContext, folder: Path, *, is_admin: bool = False, token: str = TOKEN
) -> Iterator[tuple[Page, Server]]:
    with page_of(folder, is_admin=is_admin) as page:
        yield open_tab(window, page, token), page


def open_tab(window: BrowserContext, page: Server, token: str = TOKEN) -> Page:
    tab = window.new_page()
    tab.goto(link(page, token))
    return tab


def link(page: Server, token: str = TOKEN) -> str:
    return f"http://127.0.0.1:{page.addresses[0].port}/#t={token}"


def tile(tab: Page, name: str) -> Any:
    return tab.locator("#books > div").filter(has=tab.get_by_text(name, exact=True)).locator("dd")


def asked(server: Watched) -> dict[str, Any]:
    """Return what was asked for when connections were listed last; nothing where they were not yet.

    Other calls come between: the page looks at the limits again and again.
    """
    lists = [params for verb, params in tuple(server.calls) if verb == "connections.list"]
    return lists[-1] if lists else {}


def rows(tab: Page) -> Any:
    return tab.locator("#table-body tr")


def is_of_a_stream(request: Request) -> bool:
    return request.url.endswith("/events")


def is_live(tab: Page) -> None:
    expect(tab.locator("#link")).to_have_attribute("data-state", "live")


def test_it_shows_books_connections_and_events_as_they_come(
    window: BrowserContext, tmp_path: Path, server: Watched
) -> None:
    server.connections["2"] |= {
        "peer": HOSTILE,
        "handler": HOSTILE,
        "rooms": [HOSTILE, "\u202emoor"],
        "rooms_total": 80_000,
    }
    server.certificates = {HOSTILE: 0.0}
    with opened(window, tmp_path) as (tab, page):
        is_live(tab)
        # Not in the address line, from which it might be copied.
        assert tab.url == link(page).partition("#")[0]
        server.tell_stats(open=41, accepted=12345)
        expect(tile(tab, "open")).to_have_text("41")
        expect(tile(tab, "accepted")).to_have_text("12,345")
        server.tell_stats(open=42, accepted=12345)
        expect(tile(tab, "open")).to_have_text("42")
        chart = tab.get_by_role("img", name="connections: open 42; highest 42")
        expect(chart.locator("path")).to_have_attribute("d", A_LINE)
        expect(rows(tab)).to_have_count(3)
        expect(tab.locator("#count")).to_have_text("1 to 3 of 3 connections")
        # Who only looks is offered nothing that changes anything.
        expect(tab.get_by_role("button", name="Suspend")).to_be_hidden()
        expect(tab.locator("#limit-list button").first).to_be_hidden()
        # What callers say is text.
        server.tell({**EVENT, "message": HOSTILE}, dropped=3)
        events = tab.get_by_role("log").locator("li")
        expect(events.first).to_contain_text(HOSTILE)
        expect(events.nth(1)).to_contain_text("3 events came faster than they could be told")
        expect(rows(tab).nth(1)).to_contain_text(HOSTILE)
        tab.get_by_role("button", name="Details of connection 2").click()
        dialog = tab.get_by_role("dialog", name="Connection 2")
        # What is not seen, or turns a line around, is written as what it is.
        expect(dialog).to_contain_text(HOSTILE + ", \\u202emoor, 79,998 more")
        expect(dialog).to_contain_text("shop.py:12 in handle")
        expect(dialog.get_by_role("button", name="Close this connection")).to_be_hidden()
        assert tab.locator("main img, main script, dialog img, dialog script").count() == 0
        assert "taken" not in tab.title()
        tab.keyboard.press("Escape")
        expect(dialog).to_be_hidden()
        expect(tab.get_by_role("button", name="Details of connection 2")).to_be_focused()


@pytest.mark.parametrize(
    "sink",
    [
        "document.body.innerHTML = '<b>'",
        "trustedTypes.createPolicy('any', { createHTML: (text) => text })",
    ],
)
def test_the_browser_makes_no_markup_of_a_text_in_the_page(
    browser: Browser, tmp_path: Path, server: Watched, sink: str
) -> None:
    with (
        # Not of the fixture: it complains of this.
        browser.new_context() as window,
        opened(window, tmp_path) as (tab, _),
        pytest.raises(Error, match="TypeError"),
    ):
        tab.evaluate(f"() => {{ {sink} }}")


def test_the_server_filters_sorts_and_pages(
    window: BrowserContext, tmp_path: Path, server: Watched
) -> None:
    for number in range(4, 121):
        server.connections[str(number)] = connection(number, age=number)
    with opened(window, tmp_path) as (tab, _):
        expect(tab.locator("#count")).to_have_text("1 to 50 of 120 connections")
        tab.get_by_role("button", name="Next page").click()
        expect(tab.locator("#count")).to_have_text("51 to 100 of 120 connections")
        age = tab.get_by_role("columnheader", name="Age")
        age.get_by_role("button").press("Enter")
        expect(age).to_have_attribute("aria-sort", "ascending")
        age.get_by_role("button").press("Enter")
        expect(age).to_have_attribute("aria-sort", "descending")
        arrow = "element => getComputedStyle(element, '::after').content"
        assert "▼" in age.get_by_role("button").evaluate(arrow)
        expect(rows(tab).first).to_contain_text("2 m 00 s")
        expect(tab.locator("#count")).to_have_text("1 to 50 of 120 connections")
        tab.get_by_role("searchbox", name="Filter").fill("40007")
        expect(rows(tab)).to_have_count(1)
        expect(tab.locator("#count")).to_have_text("1 to 1 of 1 connection, of 120 open")
        tab.get_by_role("searchbox", name="Room").fill("red")
        tab.get_by_role("spinbutton", name="Idle over").fill("3")
        where = {"text": "40007", "room": "red", "idle_over": 3}
        wait_until(lambda: asked(server).get("where") == where)


HOLD = """() => {
  const { fetch } = window;
  const held = new Promise((resolve) => { window.release = resolve; });
  window.rows = [];
  new MutationObserver(() => window.rows.push(document.getElementById("table-body").textContent))
    .observe(document.getElementById("table-body"), { childList: true, subtree: true, characterData: true });
  return new Promise((resolve) => {
    window.fetch = async (...asked) => {
      if (String(asked[0]) !== "calls" || !asked[1].body.includes("connections.list")) return fetch(...asked);
      window.fetch = fetch;
      resolve();
      await held;
      return fetch(...asked);
    };
  });
}"""
"""Notes what the table has from now on, and holds the next look until `release` is called."""

TURNED = """() => {
  const filter = document.getElementById("filter-text");
  filter.value = "40002";
  filter.dispatchEvent(new Event("input"));
  document.getElementById("page-after").click();
  window.release();
}"""
"""A filter is typed while a look is under way, and the next page of what is still shown is asked for."""


def test_what_was_asked_for_before_a_filter_was_typed_is_not_shown(
    window: BrowserContext, tmp_path: Path, server: Watched
) -> None:
    for number in range(4, 121):
        server.connections[str(number)] = connection(number)
    with opened(window, tmp_path) as (tab, _):
        count, after = tab.locator("#count"), tab.locator("#page-after")
        expect(count).to_have_text("1 to 50 of 120 connections")
        # Two clicks before the answer are one: which page follows the next one is not known yet.
        after.evaluate("element => { element.click(); element.click(); }")
        expect(count).to_have_text("51 to 100 of 120 connections")
        after.click()
        expect(count).to_have_text("101 to 120 of 120 connections")
        tab.get_by_role("button", name="Previous page").click()
        expect(count).to_have_text("51 to 100 of 120 connections")
        tab.evaluate(HOLD)
        server.connections["60"]["handler"] = "Stale"
        tab.evaluate(TURNED)
        expect(count).to_have_text("1 to 1 of 1 connection, of 120 open")
        shown = tab.evaluate("window.rows")
        assert shown
        assert not any("Stale" in each for each in shown)


def test_what_waits_for_a_slow_client_and_what_it_has_missed_are_in_the_table(
    window: BrowserContext, tmp_path: Path, server: Watched
) -> None:
    server.connections["2"] |= {"waiting": 64_000, "missed": 1234}
    with opened(window, tmp_path) as (tab, _):
        slow, prompt = (rows(tab).filter(has_text=f"4000{number}") for number in (2, 1))
        for name, shown, none in (("Waiting", "64 kB", "0 B"), ("Missed", "1,234", "0")):
            tab.get_by_role("columnheader", name=name).get_by_role("button").click()
            wait_until(lambda name=name: asked(server).get("sort") == name.lower())
            expect(slow.locator(f"[data-label={name}]")).to_have_text(shown)
            expect(prompt.locator(f"[data-label={name}]")).to_have_text(none)
        # On a telephone each would be a line of its own.
        tab.set_viewport_size({"width": 320, "height": 640})
        expect(slow.get_by_role("cell")).to_have_count(11)
        expect(prompt.get_by_role("cell")).to_have_count(9)


def test_an_admin_closes_suspends_and_sets_after_a_question(
    window: BrowserContext, tmp_path: Path, server: Watched
) -> None:
    with opened(window, tmp_path, is_admin=True) as (tab, _):
        until_watched(server)
        question = tab.locator("#question")

        def close(number: int, answer: str) -> None:
            tab.get_by_role("button", name=f"Details of connection {number}").click()
            tab.get_by_role("button", name="Close this connection").click()
            expect(question).to_contain_text(
                f"Close connection {number} of 192.0.2.1:4000{number}?"
            )
            question.get_by_role("button", name=answer).click()

        close(2, "Cancel")
        tab.get_by_role("button", name="Close this connection").click()
        # What is at hand is no: a key that is held answers the question too.
        expect(question.get_by_role("button", name="Cancel")).to_be_focused()
        tab.keyboard.press("Enter")
        expect(question).to_be_hidden()
        tab.get_by_role("button", name="Back").click()
        close(3, "Close it")
        expect(tab.locator("#announced")).to_have_text("connection 3 is closed")
        expect(rows(tab)).to_have_count(2)
        assert set(server.connections) == {"1", "2"}

        tab.get_by_role("button", name="Suspend 127.0.0.1:8008").click()
        question.get_by_role("button", name="Suspend").click()
        wait_until(lambda: server.is_suspended)
        tab.get_by_role("button", name="Resume 127.0.0.1:8008").click()
        wait_until(lambda: not server.is_suspended)

        limit = tab.get_by_role("textbox", name="max_connections")
        tried: list[object] = []
        for said, meant in [
            ("0", 0),
            ("10.0.0.0/8, ::1", "10.0.0.0/8, ::1"),
            ("yes", True),
            ("none", None),
            ("500", 500),
        ]:
            limit.fill(said)
            limit.press("Enter")
            question.get_by_role("button", name="Set it").click()
            tried.append(("limits.set", {"values": {"max_connections": meant}, "server": 1}))
            wait_until(lambda: [call for call in server.calls if call[0] == "limits.set"] == tried)
            if said == "0":
                sentence = "max_connections must be 1 or more, not 0"
                expect(tab.get_by_role("alert")).to_have_text(sentence)
        expect(tab.locator("#announced")).to_have_text("max_connections is set")
        expect(tab.get_by_role("alert")).to_be_hidden()
        expect(limit).to_have_value("500")


def test_a_real_client_of_a_real_server_is_shown_and_closed(
    window: BrowserContext, tmp_path: Path
) -> None:
    with (
        Server(Echo, HERE, control=str(tmp_path / "control")) as watched_server,
        call(socket_address(watched_server.addresses[0])) as client,
        opened(window, tmp_path, is_admin=True) as (tab, _),
    ):
        client.sendall(b"hello\n")
        assert client.recv(10) == b"hello\n"
        expect(rows(tab)).to_have_count(1)
        expect(rows(tab)).to_contain_text(f"127.0.0.1:{client.getsockname()[1]}")
        expect(rows(tab)).to_contain_text("6 B")
        expect(tile(tab, "open")).to_have_text("1")
        tab.get_by_role("button", name="Details of connection").click()
        expect(tab.get_by_role("dialog")).to_contain_text("in Echo.handle")
        tab.get_by_role("button", name="Close this connection").click()
        tab.locator("#question").get_by_role("button", name="Close it").click()
        assert everything(client) == b""
        expect(rows(tab)).to_have_count(0)
        expect(tab.get_by_role("log")).to_contain_text("ConnectionClosed")
        expect(tile(tab, "open")).to_have_text("0")


def test_the_workers_of_a_real_supervisor_are_shown(window: BrowserContext, tmp_path: Path) -> None:
    with supervised(tmp_path, 1, name="control") as fleet:
        worker = fleet.fleet.members[0]
        worker.call()
        with opened(window, tmp_path, is_admin=True) as (tab, _):
            expect(rows(tab)).to_have_count(1)
            shown = tab.locator("#servers dl.tiles")
            expect(shown).to_contain_text(f"worker 1serving, 0 open, process {worker.pid}")
            tab.get_by_role("button", name="Details of connection").click()
            expect(tab.get_by_role("dialog")).to_contain_text("worker1")


def test_it_follows_a_server_that_is_started_again(window: BrowserContext, tmp_path: Path) -> None:
    with ExitStack() as stack:
        server = Watched()
        with watched(tmp_path, server), server.telling():
            tab, page = stack.enter_context(opened(window, tmp_path))
            is_live(tab)
            until_watched(server)
            state = tab.locator("#filter-state")
            state.select_option("closing")
            # A look that is cut off is not made up for while the server is away.
            expect(rows(tab)).to_have_count(3)
            server.tell({**EVENT, "message": "before"})
            events = tab.get_by_role("log")
            expect(events).to_contain_text("before")
            # A stream that is lost goes on where it was.
            with window.expect_event("request", is_of_a_stream) as again:
                for each in page.connections.values():
                    each.close()
            assert re.fullmatch(r"[0-9a-f]+:1:[0-9]+", again.value.headers["last-event-id"])
            server.tell({**EVENT, "message": "meanwhile"})
            expect(events.locator("li")).to_have_count(2)
            expect(events.locator("li").first).to_contain_text("meanwhile")
        expect(tab.locator("#link")).to_have_attribute("data-state", "lost")
        tab.get_by_role("button", name="Details of connection 1").click()
        expect(tab.get_by_role("alert")).to_contain_text("is not back yet")
        again = Watched(pid=72, started="2026-11-30T02:00:00+00:00", name="serve shop:Again")
        again.connections = {"9": connection(9)}
        with watched(tmp_path, again), again.telling():
            is_live(tab)
            expect(tab.locator("h1")).to_have_text("serve shop:Again")
            expect(tab.get_by_role("alert")).to_be_hidden()
            expect(tab.locator("footer")).to_contain_text("manyhands 0.9, process 72")
            # Else the table would show others than those that were asked for.
            expect(tile(tab, "open")).to_have_text("1")
            expect(state).to_have_value("closing")
            wait_until(lambda: asked(again).get("where") == {"state": "closing"})
            expect(rows(tab)).to_have_count(1)
            expect(events.locator("li")).to_have_count(0)
            expect(tab.locator("#announced")).to_have_text("the server is there again")


def test_a_question_about_a_process_that_has_ended_is_left(
    window: BrowserContext, tmp_path: Path
) -> None:
    with ExitStack() as stack:
        server = Watched()
        with watched(tmp_path, server), server.telling():
            tab, _ = stack.enter_context(opened(window, tmp_path, is_admin=True))
            tab.get_by_role("button", name="Details of connection 1").click()
            tab.get_by_role("button", name="Close this connection").click()
            expect(tab.locator("#question")).to_be_visible()
        again = Watched(started="2026-11-30T02:00:00+00:00")
        with watched(tmp_path, again), again.telling():
            is_live(tab)
            expect(tab.locator("dialog:visible")).to_have_count(0)
            expect(tab.get_by_role("alert")).to_contain_text("nothing was done")
            # The next one is for the process that is there.
            tab.get_by_role("button", name="Details of connection 1").click()
            tab.get_by_role("button", name="Close this connection").click()
            tab.locator("#question").get_by_role("button", name="Close it").click()
            expect(tab.locator("#announced")).to_have_text("connection 1 is closed")
        for each, closed in ((server, 0), (again, 1)):
            assert [verb for verb, _ in each.calls].count("connections.close") == closed


def test_a_wrong_token_is_asked_for_again(
    window: BrowserContext, tmp_path: Path, server: Watched
) -> None:
    with opened(window, tmp_path, token="wrong") as (tab, page):
        expect(tab.get_by_role("alert")).to_contain_text("the token is wrong or missing")
        expect(tab.locator("main")).to_be_hidden()
        field = tab.get_by_label("Token")
        expect(field).to_be_focused()
        # A chat has made one sign of three dots.
        field.fill("http://127.0.0.1/#t=kN0vY3…")
        field.press("Enter")
        expect(tab.get_by_role("alert")).to_contain_text("this is no token")
        field.fill(link(page))
        field.press("Enter")
        is_live(tab)
        expect(tab.locator("main")).to_be_visible()
        # Kept for this tab alone.
        tab.reload()
        is_live(tab)
        other = window.new_page()
        other.goto(link(page).partition("#")[0])
        expect(other.get_by_role("alert")).to_contain_text("this tab has no token")


def test_a_tab_whose_token_is_refused_stops_and_holds_up_no_other(
    window: BrowserContext, tmp_path: Path, server: Watched
) -> None:
    with page_of(tmp_path) as page:
        address = str(page.addresses[0])
        old = open_tab(window, page)
        is_live(old)
    new_token = TOKEN.replace("a-", "another-")
    with page_of(tmp_path, address, token=new_token) as page:
        expect(old.get_by_role("alert")).to_contain_text("the token is wrong or missing")
        expect(old.locator("main")).to_be_hidden()
        of_old: list[str] = []
        old.on("request", lambda request: of_old.append(request.url))
        new = open_tab(window, page, new_token)
        for open_now in (7, 8):
            server.tell_stats(open=open_now)
            is_live(new)
            expect(tile(new, "open")).to_have_text(str(open_now))
        # The new tab looks again and again, and the old one does not.
        server.calls.clear()
        wait_until(lambda: "connections.list" in dict(server.calls))
        assert of_old == []
        expect(old.locator("#link")).to_have_text("not let in")


def test_a_refusal_of_a_proxy_in_front_passes(
    window: BrowserContext, tmp_path: Path, server: Watched
) -> None:
    def refuse(route: Route) -> None:
        status = 401 if is_of_a_stream(route.request) else 429
        header = {"WWW-Authenticate": 'Basic realm="proxy"'} if status == 401 else {}
        route.fulfill(status=status, headers=header, content_type="text/html", body="<h1>No</h1>")

    window.route("**/events", refuse)
    with opened(window, tmp_path) as (tab, _):
        expect(tab.locator("#link")).to_contain_text("the answer was 401")
        window.unroute("**/events")
        is_live(tab)
        window.route("**/calls", refuse)
        expect(tab.locator("#count")).to_contain_text("the answer was 429")
        window.unroute("**/calls")
        expect(tab.locator("#count")).to_have_text("1 to 3 of 3 connections")


def test_the_focus_stays_near_a_row_that_goes(
    window: BrowserContext, tmp_path: Path, server: Watched
) -> None:
    with opened(window, tmp_path) as (tab, _):
        details = tab.get_by_role("button", name="Details of connection 2")
        details.focus()
        del server.connections["2"]
        expect(rows(tab)).to_have_count(2)
        expect(tab.locator("#connections")).to_be_focused()


def test_a_clock_that_is_set_back_hides_no_silence(window: BrowserContext, tmp_path: Path) -> None:
    with watched(tmp_path) as server, page_of(tmp_path) as page:
        tab = window.new_page()
        tab.clock.install()
        tab.goto(link(page))
        until_watched(server)
        server.tell_stats(open=7)
        expect(tile(tab, "open")).to_have_text("7")
        tab.clock.set_system_time(0)
        tab.clock.fast_forward(10_000)
        # The clock goes on: on a busy machine it is more than ten seconds by the first look.
        expect(tab.locator("#link")).to_contain_text(re.compile(r"nothing heard for \d+ s"))


def test_a_certificate_is_valid_or_has_expired_by_the_server_s_clock(
    window: BrowserContext, tmp_path: Path, server: Watched
) -> None:
    now = time.time()
    server.certificates = {"new.pem": now + 90_000, "old.pem": now - 90_000}
    with page_of(tmp_path) as page:
        tab = window.new_page()
        # Before the first drawing, which may be the one that counts.
        tab.clock.set_system_time(0)
        tab.goto(link(page))
        certificates = tab.locator("#servers dl.tiles")
        expect(certificates).to_contain_text("certificate new.pemvalid for 1 d 0")
        expect(certificates).to_contain_text("certificate old.pemexpired 1 d 01 h ago")


def test_two_tabs_have_one_stream_and_the_second_goes_on_alone(
    window: BrowserContext, tmp_path: Path, server: Watched
) -> None:
    with page_of(tmp_path) as page:
        streams: list[Request] = []
        window.on("request", lambda each: streams.append(each) if is_of_a_stream(each) else None)
        first, second = open_tab(window, page), open_tab(window, page)
        until_watched(server)
        for open_now in (7, 8):
            server.tell_stats(open=open_now)
            for tab in (first, second):
                is_live(tab)
                expect(tile(tab, "open")).to_have_text(str(open_now))
        assert len(streams) == 1
        with window.expect_event("request", is_of_a_stream):
            first.close()
        server.tell_stats(open=9)
        expect(tile(second, "open")).to_have_text("9")


def test_a_tab_that_is_stopped_holds_up_no_other(
    window: BrowserContext, tmp_path: Path, server: Watched
) -> None:
    with page_of(tmp_path) as page:
        first, second = open_tab(window, page), window.new_page()
        is_live(first)
        # On a machine that is busy enough it takes over before it is to.
        streams: list[Request] = []
        second.on("request", lambda each: streams.append(each) if is_of_a_stream(each) else None)
        second.clock.install()
        second.goto(link(page))
        server.tell_stats(open=7)
        expect(tile(second, "open")).to_have_text("7")
        # As a telephone stops a tab that is not looked at.
        first.evaluate(
            "setTimeout(() => { const end = Date.now() + 3000; while (Date.now() < end); })"
        )
        end = time.monotonic() + PATIENCE
        while not streams and time.monotonic() < end:
            second.clock.fast_forward(10_000)
            second.wait_for_timeout(100)
        assert streams
        server.tell_stats(open=8)
        # The first one goes on as one that is told.
        for tab in (second, first):
            expect(tile(tab, "open")).to_have_text("8")


CALL = """async ([url, token]) => {
  const body = JSON.stringify({ jsonrpc: "2.0", id: 1, method: "connections.list" });
  const headers = { Authorization: `Bearer ${token}`, "Content-Type": "application/json" };
  const ways = [{ headers }, { mode: "no-cors" }];
  const answers = ways.map((way) => fetch(url, { method: "POST", body, ...way }));
  return (await Promise.allSettled(answers)).map(({ value }) => value?.status ?? 0);
}"""
"""Calls the page's server with all that is needed, and as any site may without asking.

Returns what can be seen of the statuses; 0: nothing.
"""


def test_a_site_from_elsewhere_gets_nothing_out_of_the_browser(
    browser: Browser, tmp_path: Path, server: Watched
) -> None:
    with page_of(tmp_path) as page, browser.new_context() as window:
        port = page.addresses[0].port
        rebound = window.new_page()
        answer = rebound.goto(f"http://{REBOUND}:{port}/")
        assert answer is not None
        assert answer.status == 421
        # To the browser this is the page's own site: only the name tells.
        called = rebound.evaluate(CALL, [f"http://{REBOUND}:{port}/calls", TOKEN])
        assert called == [421, 421]
        foreign = window.new_page()
        called = foreign.evaluate(CALL, [f"http://127.0.0.1:{port}/calls", TOKEN])
        assert called == [0, 0]
        assert server.calls == []


RATIOS = """() => {
  const style = getComputedStyle(document.documentElement);
  const light = (name) => {
    const hex = style.getPropertyValue(name).trim().slice(1);
    const [r, g, b] = [0, 2, 4].map((at) => parseInt(hex.slice(at, at + 2), 16) / 255)
      .map((part) => part <= 0.04045 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4);
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const ratio = (one, other) => {
    const [high, low] = [light(one), light(other)].sort((a, b) => b - a);
    return (high + 0.05) / (low + 0.05);
  };
  return ['--text', '--quiet', '--accent', '--good', '--bad', '--second']
    .flatMap((name) => [ratio(name, '--back'), ratio(name, '--soft')]).concat(ratio('--on-bad', '--bad'));
}"""
"""The contrasts of all texts and lines with what is behind them (WCAG 2.2, 1.4.3)."""


def test_it_fits_a_telephone_in_light_and_dark_and_goes_by_keyboard(
    window: BrowserContext, tmp_path: Path, server: Watched
) -> None:
    server.connections["1"]["peer"] = "unix:" + "x" * 200
    with opened(window, tmp_path, is_admin=True) as (tab, _):
        until_watched(server)
        server.tell({**EVENT, "message": "x" * 300})
        # The first key leads past what stands above the connections.
        tab.keyboard.press("Tab")
        expect(tab.get_by_role("link", name="Skip to the connections")).to_be_focused()
        tab.set_viewport_size({"width": 320, "height": 640})
        expect(rows(tab)).to_have_count(3)
        expect(tab.get_by_role("log").locator("li")).to_have_count(1)
        # A narrow screen has no heads to sort by, and none that the focus could be lost on.
        expect(tab.locator("thead button").first).to_be_hidden()
        tab.get_by_label("Order").select_option("Age, descending")
        wait_until(lambda: asked(server).get("sort") == "-age")
        assert asked(server)["limit"] == 20
        widths = "[document.documentElement.scrollWidth, innerWidth]"
        assert tab.evaluate(widths) == [320, 320]
        hidden = "element => element.scrollWidth - element.clientWidth"
        assert tab.locator(".scrolls").evaluate(hidden) == 0
        tab.get_by_role("button", name="Details of connection 1").click()
        expect(tab.locator("#details")).to_be_visible()
        assert (
            tab.evaluate("document.getElementById('details').getBoundingClientRect().right") <= 320
        )
        tab.keyboard.press("Escape")
        backs = set()
        for scheme in ("light", "dark"):
            tab.emulate_media(color_scheme=scheme)
            backs.add(tab.evaluate("getComputedStyle(document.body).backgroundColor"))
            assert min(tab.evaluate(RATIOS)) >= 4.5
        assert len(backs) == 2
        for role in ("banner", "navigation", "main", "contentinfo", "search", "log", "status"):
            assert tab.get_by_role(role).count() == 1, role
        controls = tab.locator("button, input, select, a, section, [role=img]")
        for control in controls.all():
            assert not control.is_visible() or '"' in control.aria_snapshot(), control
