"""The page's own server over real sockets: who is let in, and what goes to the control socket."""

import http.client
import json
import socket
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest

from manyhands.server import Server
from manyhands.testing import call, everything, socket_address, wait_until
from manyhands.web.eviction import MOST_CONNECTIONS, MOST_STREAMS
from manyhands.web.guards import MOST_WRONG
from manyhands.web.http_connection import SAFETY
from manyhands.web.static_files import static_files
from tests.support import Authority
from tests.support.waiting import PATIENCE

from .kit import HERE, PROCESS, TOKEN, Watched, page_of, until_watched, watched

MOST_BYTES = 100_000
"""Of the first load, with the heads of its responses."""

PATHS = ["/", "/static/main.js", "/nowhere", "/events", "/calls"]
METHODS = ["GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS", "PATCH", "TRACE", "CONNECT"]

RIGHT = {"Authorization": f"Bearer {TOKEN}", "Content-Type": "application/json"}


class Answer:
    """A status, headers by their names in small letters, and a body."""

    def __init__(self, response: http.client.HTTPResponse) -> None:
        self.status = response.status
        self.headers = {name.lower(): value for name, value in response.getheaders()}
        self.body = response.read()

    @property
    def said(self) -> Any:
        return json.loads(self.body)


def asked(
    server: Server,
    method: str = "GET",
    path: str = "/",
    headers: Mapping[str, str] | None = None,
    body: bytes = b"",
) -> Answer:
    connection = http.client.HTTPConnection(*socket_address(server.addresses[0]), timeout=PATIENCE)
    try:
        connection.request(method, path, body or None, dict(headers or {}))
        return Answer(connection.getresponse())
    finally:
        connection.close()


def called(server: Server, verb: str, process: object = PROCESS, /, **params: Any) -> Answer:
    call = {"jsonrpc": "2.0", "id": 1, "method": verb, "params": params, "process": process}
    return asked(server, "POST", "/calls", RIGHT, json.dumps(call).encode())


@contextmanager
def streaming(server: Server, last_id: str = "") -> Iterator[Iterator[tuple[str, str, Any]]]:
    """Open a stream; yield its messages: kind, id and data."""
    with call(socket_address(server.addresses[0])) as peer:
        more = f"Last-Event-ID: {last_id}\r\n" if last_id else ""
        peer.sendall(
            f"GET /events HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {TOKEN}\r\n{more}\r\n".encode()
        )
        response = http.client.HTTPResponse(peer)
        response.begin()
        assert response.status == 200, response.read()
        assert response.headers["Content-Type"] == "text/event-stream"
        assert response.headers["X-Accel-Buffering"] == "no"
        # Its file would keep the connection open.
        with response:
            yield messages(response)


def messages(response: http.client.HTTPResponse) -> Iterator[tuple[str, str, Any]]:
    fields: dict[str, str] = {}
    while line := response.readline().decode():
        name, _, value = line.rstrip("\n").partition(": ")
        if name:
            fields[name] = value
        elif "data" in fields:
            yield fields["event"], fields.get("id", ""), json.loads(fields["data"])
            fields = {}


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Watched]:
    with watched(tmp_path) as server:
        yield server


@pytest.fixture
def page(tmp_path: Path, server: Watched) -> Iterator[Server]:
    with page_of(tmp_path) as page:
        yield page


@pytest.fixture
def admin_page(tmp_path: Path, server: Watched) -> Iterator[Server]:
    with page_of(tmp_path, is_admin=True) as page:
        yield page


# The files


def test_the_first_load_is_small(page: Server) -> None:
    files = static_files()
    total = 0
    for path, file in files.items():
        answer = asked(page, "GET", path)
        assert (answer.status, answer.body) == (200, file.body)
        assert answer.headers["content-type"] == file.media_type
        total += len(answer.body) + len(str(answer.headers))
    assert {"/", "/static/main.js", "/static/style.css", "/static/icon.svg"} <= set(files)
    assert total <= MOST_BYTES


def test_head_is_answered_with_the_length_and_no_body(page: Server) -> None:
    answer = asked(page, "HEAD", "/")
    assert (answer.status, answer.body) == (200, b"")
    assert int(answer.headers["content-length"]) == len(static_files()["/"].body)


@pytest.mark.parametrize("path", ["/static/../page.py", "/static/%2e%2e/page.py", "/page.py", "//"])
def test_nothing_but_the_files_is_there(page: Server, path: str) -> None:
    assert asked(page, "GET", path).status == 404


def test_several_requests_come_on_one_connection(page: Server) -> None:
    connection = http.client.HTTPConnection(*socket_address(page.addresses[0]), timeout=PATIENCE)
    for path, status in [("/", 200), ("/nowhere", 404), ("/static/main.js", 200)]:
        connection.request("GET", path)
        response = connection.getresponse()
        response.read()
        assert response.status == status
    connection.close()
    wait_until(lambda: page.connections.balance[0] == 1)


# Who is let in


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("path", PATHS)
def test_every_answer_has_the_headers_that_keep_it_safe(
    page: Server, method: str, path: str
) -> None:
    answer = asked(page, method, path)
    for name, value in SAFETY:
        assert answer.headers[name.lower()] == value
    assert "access-control-allow-origin" not in answer.headers


def test_the_safety_headers_are_those_that_were_decided() -> None:
    assert dict(SAFETY) == {
        "Content-Security-Policy": (
            "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self'; "
            "base-uri 'none'; form-action 'none'; frame-ancestors 'none'; "
            "require-trusted-types-for 'script'; trusted-types 'none'"
        ),
        "X-Content-Type-Options": "nosniff",
        "Referrer-Policy": "no-referrer",
        "Cross-Origin-Resource-Policy": "same-origin",
        "Cross-Origin-Opener-Policy": "same-origin",
        "Cache-Control": "no-store",
    }


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("path", PATHS)
def test_a_name_that_is_not_the_page_s_is_refused_everywhere(
    page: Server, method: str, path: str
) -> None:
    answer = asked(page, method, path, {**RIGHT, "Host": "127.evil.example"})
    assert answer.status == 421
    assert method == "HEAD" or b"--host" in answer.body


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize(
    "foreign", [{"Sec-Fetch-Site": "cross-site"}, {"Origin": "http://127.0.0.1:1"}]
)
def test_what_another_site_has_the_browser_ask_for_is_refused_everywhere(
    page: Server, method: str, path: str, foreign: dict[str, str]
) -> None:
    assert asked(page, method, path, {**RIGHT, **foreign}).status == 403


@pytest.mark.parametrize(("method", "path"), [("GET", "/events"), ("POST", "/calls")])
@pytest.mark.parametrize("authorization", [None, "Bearer wrong", f"Basic {TOKEN}"])
def test_without_the_token_nothing_is_shown(
    page: Server, server: Watched, method: str, path: str, authorization: str | None
) -> None:
    headers = {"Content-Type": "application/json"}
    if authorization is not None:
        headers["Authorization"] = authorization
    answer = asked(page, method, path, headers, b"{}" if method == "POST" else b"")
    assert answer.status == 401
    assert answer.headers["www-authenticate"] == 'Bearer realm="manyhands"'
    assert server.calls == []


def test_a_token_in_the_address_is_none(page: Server) -> None:
    assert asked(page, "GET", f"/events?t={TOKEN}").status == 401


def test_after_ten_wrong_tokens_others_have_to_wait_and_the_right_one_is_let_in(
    page: Server,
) -> None:
    wrong = {"Authorization": "Bearer wrong"}
    for _ in range(MOST_WRONG):
        assert asked(page, "GET", "/events", wrong).status == 401
    answer = asked(page, "GET", "/events", wrong)
    assert answer.status == 429
    assert answer.headers["www-authenticate"] == 'Bearer realm="manyhands"'
    assert 0 < int(answer.headers["retry-after"]) <= 61
    assert "result" in called(page, "limits.get").said


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [("GET", "/calls", "POST"), ("POST", "/events", "GET"), ("PUT", "/", "GET, HEAD")],
)
def test_another_method_is_told_the_right_one(
    page: Server, method: str, path: str, allowed: str
) -> None:
    answer = asked(page, method, path, RIGHT)
    assert (answer.status, answer.headers["allow"]) == (405, allowed)


@pytest.mark.parametrize(
    "media_type", ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data", ""]
)
def test_a_call_that_a_form_could_make_is_refused(
    page: Server, server: Watched, media_type: str
) -> None:
    """A page of another site can send these without asking; JSON it cannot."""
    body = b'{"jsonrpc": "2.0", "id": 1, "method": "limits.get"}'
    answer = asked(page, "POST", "/calls", {**RIGHT, "Content-Type": media_type}, body)
    assert (answer.status, server.calls) == (415, [])


def said_to(page: Server, head: str) -> bytes:
    with call(socket_address(page.addresses[0])) as peer:
        peer.sendall(head.replace("\n", "\r\n").encode())
        return everything(peer)


@pytest.mark.parametrize("method", ["GET", "HEAD", "CONNECT"])
@pytest.mark.parametrize(
    ("head", "status"),
    [
        ("hello\n\n", 400),
        ("GET / HTTP/1.1\n\n", 400),
        ("GET / HTTP/1.1\nHost: localhost\nHost: localhost\n\n", 400),
        ("GET / HTTP/1.1\nHost: localhost\nOrigin: a\nOrigin: b\n\n", 400),
        ("GET http://localhost/ HTTP/1.1\nHost: localhost\n\n", 400),
        ("GET * HTTP/1.1\nHost: localhost\n\n", 400),
        ("GET localhost:80 HTTP/1.1\nHost: localhost\n\n", 400),
        ("GET / HTTP/1.1\nHost: localhost\nX: " + "x" * 40_000 + "\n\n", 431),
        ("GET / HTTP/1.1\nHost: localhost\nContent-Length: 70000\n\n" + "x" * 70_000, 413),
        (
            "GET / HTTP/1.1\nHost: localhost\nContent-Length: 5\nTransfer-Encoding: chunked\n\n0\n\n",
            400,
        ),
        ("GET / HTTP/1.0\nHost: localhost\nTransfer-Encoding: chunked\n\n0\n\n", 400),
        # Before HTTP/1.1 none is needed, and the page wants one all the same.
        ("GET / HTTP/1.0\n\n", 421),
        ("GET / HTTP/1.0\nHost:\n\n", 421),
        ("GET /events HTTP/1.0\nAuthorization: Bearer {0}\n\n", 421),
        ("GET /calls HTTP/1.0\nAuthorization: Bearer {0}\n\n", 421),
    ],
)
def test_what_is_no_request_of_ours_gets_its_status(
    page: Server, capfd: pytest.CaptureFixture[str], method: str, head: str, status: int
) -> None:
    head = head.replace("{0}", TOKEN).replace("\n\n", "\nConnection: close\n\n", 1)
    said = said_to(page, head.replace("GET", method))
    assert said.startswith(f"HTTP/1.1 {status} ".encode())
    assert b"Content-Security-Policy" in said
    # A client that is none of ours fills no log.
    wait_until(lambda: len(page.connections) == 0)
    assert capfd.readouterr() == ("", "")


def test_an_id_of_an_event_that_is_none_is_refused(page: Server) -> None:
    assert asked(page, "GET", "/events", {**RIGHT, "Last-Event-ID": "x"}).status == 400


@pytest.mark.parametrize("protocol", ["h2c", "websocket"])
def test_a_protocol_that_the_page_does_not_speak_is_passed_over(
    page: Server, protocol: str
) -> None:
    upgrade = {"Connection": "Upgrade", "Upgrade": protocol}
    assert asked(page, "GET", "/", upgrade).body == static_files()["/"].body
    assert asked(page, "GET", "/", {**upgrade, "Host": "127.evil.example"}).status == 421
    assert asked(page, "GET", "/events", upgrade).status == 401


def test_half_a_request_and_silence_end(page: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("manyhands.web.http_connection.REQUEST_TIMEOUT", 0.1)
    assert said_to(page, "GET / HTTP/1.1\nHost") == b""
    assert said_to(page, "POST / HTTP/1.1\nHost: localhost\nContent-Length: 9\n\nxx") == b""


def test_a_browser_that_says_nothing_is_ended(
    page: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("manyhands.web.http_connection.KEEP_ALIVE", 0.1)
    assert said_to(page, "") == b""


def silent(page: Server) -> socket.socket:
    peer = socket.create_connection(socket_address(page.addresses[0]))
    peer.settimeout(PATIENCE)
    return peer


@pytest.mark.parametrize("scheme", ["tcp", "tls"])
def test_clients_without_a_token_leave_room_for_browsers(
    tmp_path: Path,
    server: Watched,
    authority: Authority,
    monkeypatch: pytest.MonkeyPatch,
    scheme: str,
) -> None:
    monkeypatch.setattr("manyhands.web.http_connection.KEEP_ALIVE", 2 * PATIENCE)
    certfile, keyfile = authority.write(tmp_path, "localhost")
    tls = {"certfile": certfile, "keyfile": keyfile} if scheme == "tls" else {}
    with page_of(tmp_path, f"{scheme}://127.0.0.1:0", **tls) as page, ExitStack() as stack:
        until_watched(server)

        def browser(path: str) -> http.client.HTTPResponse:
            connection = (
                http.client.HTTPSConnection(
                    *("localhost", page.addresses[0].port), context=authority.client_context()
                )
                if tls
                else http.client.HTTPConnection(*socket_address(page.addresses[0]))
            )
            connection.timeout = PATIENCE
            stack.callback(connection.close)
            connection.request("GET", path, headers=RIGHT)
            return stack.enter_context(connection.getresponse())

        stream = messages(browser("/events"))
        assert next(stream)[0] == "reset"
        oldest, *_ = [stack.enter_context(silent(page)) for _ in range(MOST_CONNECTIONS)]
        assert browser("/").status == 200
        assert everything(oldest) == b""
        server.tell_stats(open=7)
        assert next(stream)[0] == "stats"


# Calls


def test_a_call_is_handed_on_and_its_answer_comes_back(page: Server, server: Watched) -> None:
    answer = called(page, "connections.list", where={"text": "40002"}, sort="-age", limit=5)
    assert answer.status == 200
    assert answer.said["id"] == 1
    assert [each["id"] for each in answer.said["result"]["items"]] == ["2"]
    assert server.calls == [
        ("connections.list", {"where": {"text": "40002"}, "sort": "-age", "limit": 5})
    ]


def test_a_refusal_of_the_server_is_its_sentence(page: Server) -> None:
    error = {"code": -32010, "message": "there is no connection 99"}
    assert called(page, "connections.get", id="99").said["error"] == error


WRITING: list[tuple[str, dict[str, Any]]] = [
    ("connections.close", {"id": "2"}),
    ("limits.set", {"values": {"max_connections": 5}}),
    ("listeners.suspend", {}),
    ("listeners.resume", {}),
]


@pytest.mark.parametrize(("verb", "params"), WRITING)
def test_a_page_that_only_shows_hands_on_nothing_that_changes_anything(
    page: Server, server: Watched, verb: str, params: dict[str, Any]
) -> None:
    answer = called(page, verb, **params)
    assert (answer.status, answer.said["error"]["code"]) == (403, -32011)
    assert "--admin" in answer.said["error"]["message"]
    assert server.calls == []


@pytest.mark.parametrize(("verb", "params"), WRITING)
def test_an_admin_s_page_hands_them_on(
    admin_page: Server, server: Watched, verb: str, params: dict[str, Any]
) -> None:
    assert "result" in called(admin_page, verb, **params).said
    assert server.calls == [(verb, params)]


@pytest.mark.parametrize(("verb", "params"), WRITING)
def test_what_is_meant_for_another_process_is_not_handed_on(
    tmp_path: Path, verb: str, params: dict[str, Any]
) -> None:
    """What one process calls connection 2 is another client at the next one."""
    with ExitStack() as stack:
        with watched(tmp_path) as first:
            page = stack.enter_context(page_of(tmp_path, is_admin=True))
            until_watched(first)
            assert "result" in called(page, verb, **params).said
        again = Watched(started="2026-11-30T02:00:00+00:00")
        with watched(tmp_path, again):
            until_watched(again)
            answer = called(page, verb, **params)
            assert (answer.status, answer.said["error"]["code"]) == (409, -32012)
            assert "started anew" in answer.said["error"]["message"]
            assert called(page, verb, None, **params).said["error"]["code"] == -32600
            assert again.calls == []
            assert "result" in called(page, verb, PROCESS | again.hello, **params).said


@pytest.mark.parametrize(
    "verb", ["drain", "reload", "stacks", "rooms.tell", "status", "watch", "nonsense"]
)
def test_verbs_that_the_page_does_not_need_are_not_handed_on(
    admin_page: Server, server: Watched, verb: str
) -> None:
    answer = called(admin_page, verb)
    assert (answer.status, answer.said["error"]["code"]) == (400, -32601)
    assert server.calls == []


@pytest.mark.parametrize(
    ("body", "code"),
    [
        (b"", -32700),
        (b"{", -32700),
        (b"[" * 30_000, -32700),
        (b"\xff", -32700),
        (b"[]", -32600),
        (b'[{"jsonrpc": "2.0", "id": 1, "method": "limits.get"}]', -32600),
        (b'{"jsonrpc": "2.0", "method": "limits.get"}', -32600),
        (b'{"jsonrpc": "2.0", "id": 1, "method": 5}', -32600),
        (b'{"jsonrpc": "2.0", "id": 1, "method": "limits.get", "params": []}', -32600),
    ],
)
def test_a_body_that_is_no_call_is_refused(page: Server, body: bytes, code: int) -> None:
    answer = asked(page, "POST", "/calls", RIGHT, body)
    assert (answer.status, answer.said["error"]["code"]) == (400, code)


def test_browsers_that_show_the_same_connections_have_one_look_at_the_server(
    admin_page: Server, server: Watched
) -> None:
    for _ in range(3):
        assert called(admin_page, "connections.list", sort="id").said["result"]["open"] == 3
    assert [verb for verb, _ in server.calls] == ["connections.list"]
    assert "result" in called(admin_page, "connections.close", id="2").said
    assert called(admin_page, "connections.list", sort="id").said["result"]["open"] == 2


@pytest.mark.parametrize(
    ("said", "meant"),
    [
        ("0x10", "0x10"),
        ("Infinity", "Infinity"),
        ("bad face", "bad face"),
        ("10.0.0.0/8, ::1", "10.0.0.0/8, ::1"),
        (" 16 ", 16),
        ("no", False),
        ("none", None),
    ],
)
def test_a_limit_is_read_as_on_the_command_line(
    admin_page: Server, server: Watched, said: str, meant: object
) -> None:
    assert "result" in called(admin_page, "limits.set", values={"refusal": said}).said
    assert server.calls == [("limits.set", {"values": {"refusal": meant}})]


def test_an_empty_limit_takes_none_away(admin_page: Server, server: Watched) -> None:
    error = called(admin_page, "limits.set", values={"refusal": " "}).said["error"]
    assert (error["code"], server.calls) == (-32602, [])
    assert "none takes a limit away" in error["message"]


def test_calls_come_on_few_connections_to_the_control_socket(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    server = Watched()
    greeted: list[object] = []
    script = server.script
    monkeypatch.setattr(server, "script", lambda wire: (greeted.append(wire), script(wire)))
    with watched(tmp_path, server), page_of(tmp_path) as page:
        until_watched(server)
        for _ in range(5):
            assert "result" in called(page, "limits.get").said
        assert len(greeted) == 2


# The stream


def test_a_stream_begins_with_all_and_goes_on_with_what_is_new(
    page: Server, server: Watched
) -> None:
    until_watched(server)
    with streaming(page) as stream:
        kind, first_id, data = next(stream)
        assert (kind, data["may_write"], data["server"]["pid"]) == ("reset", False, 71)
        server.tell({"event": "ConnectionClosed", "message": "<b>#1</b> ended"})
        kind, number, data = next(stream)
        assert (kind, data[0]["message"]) == ("events", "<b>#1</b> ended")
        server.tell_stats(open=7)
        kind, latest, data = next(stream)
        assert (kind, data["stats"]["books"]["open"], data["points"][0][1]) == ("stats", 7, 7)
    with streaming(page, first_id) as stream:
        kind, again, data = next(stream)
        assert (kind, next(stream)[:2]) == ("server", ("events", number))
    with streaming(page, "another:1:0") as stream:
        kind, again, data = next(stream)
        assert (kind, again, len(data["events"])) == ("reset", latest, 1)


def test_a_browser_that_reads_slowly_gets_the_latest(page: Server, server: Watched) -> None:
    until_watched(server)
    with call(socket_address(page.addresses[0])) as peer:
        peer.sendall(
            f"GET /events HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {TOKEN}\r\n\r\n".encode()
        )
        response = http.client.HTTPResponse(peer)
        response.begin()
        stream = messages(response)
        assert next(stream)[0] == "reset"
        for number in range(3000):
            server.tell({"event": f"E{number}", "text": "x" * 1000})
        server.tell_stats(open=42)
        seen: list[str] = []
        for kind, _, data in stream:
            if kind in {"events", "reset"}:
                events = data if kind == "events" else data["events"]
                seen += [each["event"] for each in events]
            if kind == "stats" and data["stats"]["books"]["open"] == 42:
                break
            if kind == "reset" and data["stats"] and data["stats"]["books"]["open"] == 42:
                break
        assert seen[-1] == "E2999"


def test_a_server_that_ends_and_comes_back_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # What is kept of the server before would be told for long.
    monkeypatch.setattr("manyhands.web.lists.SHORTEST", PATIENCE)
    with ExitStack() as stack:
        server = Watched()
        with watched(tmp_path, server):
            page = stack.enter_context(page_of(tmp_path))
            until_watched(server)
            stream = stack.enter_context(streaming(page))
            _, first, data = next(stream)
            assert data["server"]["is_there"]
            assert called(page, "connections.list").said["result"]["open"] == 3
        kind, _, data = next(stream)
        assert (kind, data["is_there"]) == ("server", False)
        for verb in ("limits.get", "connections.list"):
            assert called(page, verb).said["error"]["code"] == -32012
        with watched(tmp_path, Watched(pid=72, started="2026-11-30T02:00:00+00:00")):
            kinds = {}
            while "reset" not in kinds:
                kind, number, data = next(stream)
                kinds[kind] = number
            assert (data["server"]["is_there"], data["server"]["pid"]) == (True, 72)
            assert kinds["reset"].partition(":")[0] != first.partition(":")[0]
            assert called(page, "connections.list").said["result"]["open"] == 3


def test_streams_have_a_bound_and_end_with_their_browsers(page: Server, server: Watched) -> None:
    until_watched(server)
    with ExitStack() as stack:
        for _ in range(MOST_STREAMS):
            next(stack.enter_context(streaming(page)))
        answer = asked(page, "GET", "/events", RIGHT)
        assert (answer.status, answer.headers["retry-after"]) == (503, "10")
    # Those that have gone take no place, though nothing has been sent to them since.
    with streaming(page) as again:
        assert next(again)[0] == "reset"
    wait_until(lambda: len(page.connections) == 0)


def test_a_page_that_ends_ends_its_streams(tmp_path: Path, server: Watched) -> None:
    with ExitStack() as stack:
        page = stack.enter_context(page_of(tmp_path))
        stream = stack.enter_context(streaming(page))
        next(stream)
        assert page.close() == []
        assert list(stream) == []


# Where it is served


def test_a_unix_socket_is_for_a_proxy(tmp_path: Path, server: Watched) -> None:
    path = tmp_path / "page"
    with page_of(tmp_path, f"unix://{path}", hosts=["status.example.org"]):
        for host, status in [("status.example.org", b"200"), ("localhost", b"421")]:
            with socket.socket(socket.AF_UNIX) as peer:
                peer.connect(str(path))
                peer.sendall(f"GET / HTTP/1.0\r\nHost: {host}\r\n\r\n".encode())
                assert everything(peer).startswith(b"HTTP/1.1 " + status)


def test_tls_is_spoken_with_the_certificate_that_is_given(
    tmp_path: Path, server: Watched, authority: Authority
) -> None:
    certfile, keyfile = authority.write(tmp_path, "localhost")
    address = HERE.replace("tcp", "tls")
    with page_of(tmp_path, address, certfile=certfile, keyfile=keyfile) as page:
        connection = http.client.HTTPSConnection(
            "localhost",
            page.addresses[0].port,
            timeout=PATIENCE,
            context=authority.client_context(),
        )
        connection.request("GET", "/")
        assert connection.getresponse().status == 200
        connection.close()
