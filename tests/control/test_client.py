"""The client of a control socket, with servers that answer and servers that misbehave."""

import json
import os
import socket
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from manyhands.control.client import Client, Lost, Refused, Unreachable
from tests.control.kit import HELLO, RefusalError, Script, Wire, answering, served
from tests.support import run_python

SERVER = "the server (process 71, serve shop:Echo)"

Serve = Callable[[Script], str]


@pytest.fixture
def serve(tmp_path: Path) -> Iterator[Serve]:
    """Serve a control socket until the end of the test, and return its place."""
    with ExitStack() as stack:

        def start(script: Script) -> str:
            place = f"{tmp_path}/{len(list(tmp_path.iterdir()))}.sock"
            stack.enter_context(served(place, script))
            return place

        yield start


def test_a_call_has_the_server_s_result(serve: Serve) -> None:
    with Client(serve(answering({"add": lambda params: sum(params["numbers"])}))) as client:
        assert client.call("add", numbers=[1, 2]) == 3
        assert client.call("add", numbers=[], unused=None) == 0


def test_what_the_server_says_first_is_known(serve: Serve) -> None:
    place = serve(answering({}))
    with Client(place) as client:
        assert client.place == place
        assert client.user == os.geteuid()
        said = client.hello._asdict() | {"may": [*client.hello.may], "protocol": 1}
        assert said | {"manyhands": said.pop("version")} == HELLO
        assert str(client.hello) == "process 71, serve shop:Echo"


def test_what_a_server_does_not_say_of_itself_is_left_empty(serve: Serve) -> None:
    place = serve(lambda wire: wire.tell("hello", {"protocol": 1, "pid": "x", "may": "all"}))
    with Client(place) as client:
        assert client.hello == ("", 0, "", "", "", ())
        assert str(client.hello) == "process 0"


def test_a_server_s_name_is_shown_escaped(serve: Serve) -> None:
    with Client(serve(answering({}, name="serve \x1b[2J"))) as client:
        assert str(client.hello) == r"process 71, serve \x1b[2J"


def test_an_abstract_name_is_a_place_too() -> None:
    place = f"@manyhands-test.{os.getpid()}"
    with served(place, answering({"status": lambda _: 1})), Client(place) as client:
        assert client.call("status") == 1


def refuse(params: dict[str, Any]) -> None:
    raise RefusalError(-32010, f"there is no connection {params['id']}")


def test_what_the_server_refuses_is_raised_with_its_code_and_its_sentence(serve: Serve) -> None:
    with Client(serve(answering({"close": refuse, "status": lambda _: 1}))) as client:
        with pytest.raises(Refused, match=r"^there is no connection 9$") as refused:
            client.call("close", id="9")
        assert refused.value.code == -32010
        assert client.call("status") == 1


@pytest.mark.parametrize("error", [7, {}, {"code": "x", "message": ""}])
def test_an_error_that_says_nothing_is_an_error_all_the_same(serve: Serve, error: object) -> None:
    def script(wire: Wire) -> None:
        wire.hello()
        for request in wire.requests():
            wire.say({"id": request["id"], "error": error})

    with (
        Client(serve(script)) as client,
        pytest.raises(Refused, match="does not say why"),
    ):
        client.call("status")


def test_an_error_without_an_id_concerns_the_call_that_is_under_way(serve: Serve) -> None:
    def script(wire: Wire) -> None:
        wire.hello()
        next(wire.requests())
        wire.say({"id": None, "error": {"code": -32013, "message": "too long"}})

    with Client(serve(script)) as client:
        with pytest.raises(Refused, match="too long"):
            client.call("status")
        with pytest.raises(Lost, match="has closed the connection"):
            client.call("status")


def test_an_answer_that_comes_in_pieces_is_one(serve: Serve) -> None:
    turn = threading.Semaphore(0)

    def script(wire: Wire) -> None:
        wire.hello()
        line = json.dumps(
            {"id": next(wire.requests())["id"], "result": "é" * 9}, ensure_ascii=False
        )
        for byte in f"{line}\n".encode():
            wire.say_bytes(bytes([byte]))
        turn.acquire(timeout=10)

    with Client(serve(script)) as client:
        assert client.call("status") == "é" * 9
        turn.release()


def test_a_large_answer_is_received_whole(serve: Serve) -> None:
    with Client(serve(answering({"metrics": lambda _: "x" * 3_000_000}))) as client:
        assert len(client.call("metrics")) == 3_000_000


def test_an_argument_that_is_no_text_travels(serve: Serve) -> None:
    seen = []
    with Client(serve(answering({"tell": lambda params: seen.append(params["text"])}))) as client:
        client.call("tell", text="\udcff\N{SNOWMAN}")
    assert seen == ["\udcff\N{SNOWMAN}"]


def test_a_request_that_a_server_would_not_take_is_not_sent(serve: Serve) -> None:
    with Client(serve(answering({"tell": lambda params: len(params["text"])}))) as client:
        around = 65_536 - len(
            json.dumps({"jsonrpc": "2.0", "id": 1, "method": "tell", "params": {"text": ""}}) + "\n"
        )
        assert client.call("tell", text="x" * around) == around
        with pytest.raises(
            Refused, match=r"^the request has 65537 bytes, and a server takes 65536$"
        ):
            client.call("tell", text="x" * (around + 1))
        assert client.call("tell", text="") == 0


def watching(*notifications: tuple[str, dict[str, Any]]) -> Script:
    """Return a script that answers `watch` between notifications, and `last` after them."""

    def script(wire: Wire) -> None:
        wire.hello()
        requests = wire.requests()
        request = next(requests)
        for method, params in notifications:
            wire.tell(method, params)
        wire.answer(request, request["params"])
        wire.tell("stats", {"seq": 99})
        for request in requests:
            wire.answer(request, None)
            if request["method"] == "last":
                return

    return script


def test_what_is_watched_comes_in_its_order(serve: Serve) -> None:
    with Client(serve(watching(("events", {"seq": 1}), ("events", {"seq": 2})))) as client:
        client.watch("stats", "events", every=0.5)
        told = [client.receive(10) for _ in range(3)]
        assert [(each.kind, each.params["seq"]) for each in told if each] == [
            ("events", 1),
            ("events", 2),
            ("stats", 99),
        ]


def test_of_stats_that_came_during_a_call_the_latest_is_kept(serve: Serve) -> None:
    with Client(serve(watching(*[("stats", {"seq": seq}) for seq in range(5)]))) as client:
        client.watch("stats")
        client.call("last")
        told = client.receive(10)
        assert told is not None
        assert told.params == {"seq": 99}


def test_events_beyond_what_is_kept_during_a_call_are_counted(serve: Serve) -> None:
    events = [("events", {"seq": seq, "items": [1, 2], "dropped": 1}) for seq in range(105)]
    with Client(serve(watching(*events))) as client:
        client.watch("events")
        told = client.receive(10)
        assert told is not None
        assert (told.params["seq"], told.params["dropped"]) == (5, 1 + 5 * 3)
        following = client.receive(10)
        assert following is not None
        assert (following.params["seq"], following.params["dropped"]) == (6, 1)


def test_a_wait_for_notifications_ends_in_time(serve: Serve) -> None:
    with Client(serve(answering({"watch": lambda _: None}))) as client:
        client.watch("events")
        assert client.receive(0) is None
        assert client.receive(0.01) is None
        assert client.call("watch", what=[]) is None


def test_notifications_end_with_the_connection(serve: Serve) -> None:
    with Client(serve(watching(("events", {"seq": 1})))) as client:
        client.watch("events")
        client.call("last")
        told = client.notifications()
        assert [next(told).params["seq"], next(told).params["seq"]] == [1, 99]
        with pytest.raises(Lost) as lost:
            next(told)
        assert str(lost.value) == f"{SERVER} has closed the connection"


def test_what_no_client_knows_is_passed_over(serve: Serve) -> None:
    def script(wire: Wire) -> None:
        wire.hello()
        request = next(wire.requests())
        wire.tell("weather", ["fine"])
        wire.say({"method": ["stats"], "params": {}})
        wire.say({"id": [1], "result": "odd"})
        wire.say({"id": 12345, "result": "too late"})
        wire.answer(request, "this")
        wire.say({"id": 1, "result": "twice"})
        wire.tell("events", {})

    with Client(serve(script)) as client:
        assert client.call("status") == "this"
        told = client.receive(10)
        assert told is not None
        assert told == ("events", {})


def test_an_answer_that_does_not_come_ends_the_connection(serve: Serve) -> None:
    over = threading.Event()

    def script(wire: Wire) -> None:
        wire.hello()
        over.wait(10)

    with Client(serve(script)) as client:
        with pytest.raises(Lost) as lost:
            client.request("status", {}, timeout=0.05)
        assert str(lost.value) == f"{SERVER} has not answered status in time"
        assert client.fileno() == -1
        with pytest.raises(Lost, match=r"^the connection to the server .* is closed$"):
            client.call("status")
    over.set()


DEEP = b"[" * 100_000 + b"\n"


@pytest.mark.parametrize("said", [b"{}x\n", b"[1]\n", b"\xff\n", b"\n", DEEP])
def test_what_is_no_message_ends_the_connection(serve: Serve, said: bytes) -> None:
    def script(wire: Wire) -> None:
        wire.hello()
        next(wire.requests())
        wire.say_bytes(said)

    with Client(serve(script)) as client, pytest.raises(Lost) as lost:
        client.call("status")
    assert str(lost.value) == f"{SERVER} sent what is no message of the control protocol"


def test_a_line_without_end_ends_the_connection(
    serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("manyhands.control.client_socket.LONGEST_LINE", 100_000)

    def script(wire: Wire) -> None:
        wire.hello()
        next(wire.requests())
        while True:
            wire.say_bytes(b"x" * 65_536)

    with Client(serve(script)) as client, pytest.raises(Lost, match="a line longer than 100000"):
        client.call("status")


def test_a_server_that_ends_is_told_of(serve: Serve) -> None:
    with Client(serve(lambda wire: wire.hello())) as client, pytest.raises(Lost) as lost:
        client.call("status")
    assert str(lost.value) == f"{SERVER} has closed the connection"


GREETINGS: dict[str, Script] = {
    "has closed the connection": lambda _: None,
    "sent what is no message of the control protocol": lambda wire: wire.say_bytes(
        b"220 hello\r\n"
    ),
    "turns clients away: 64 clients are connected": lambda wire: wire.say(
        {"id": None, "error": {"code": -32012, "message": "64 clients are connected"}}
    ),
    "is no server of manyhands: it does not say hello": lambda wire: wire.tell("stats", {}),
    "speaks version 2 of the control protocol, and this manyhands version 1: use the one that it runs "
    "on, 3.0": lambda wire: wire.hello(protocol=2, manyhands="3.0"),
}


@pytest.mark.parametrize(("why", "script"), GREETINGS.items())
def test_what_does_not_greet_as_a_server_does_is_left(
    serve: Serve, why: str, script: Script
) -> None:
    place = serve(script)
    with pytest.raises(Unreachable) as unreachable:
        Client(place)
    assert str(unreachable.value) == f"the server at {place} {why}"
    assert not unreachable.value.is_gone


def test_a_server_that_says_nothing_is_waited_for_no_longer_than_that(serve: Serve) -> None:
    over = threading.Event()
    place = serve(lambda _: bool(over.wait(10)) or None)
    with pytest.raises(Unreachable, match="says nothing: it is stopped, or no server of manyhands"):
        Client(place, timeout=0.05)
    over.set()


def test_a_server_that_accepts_nobody_is_waited_for_no_longer_than_that(tmp_path: Path) -> None:
    place = f"{tmp_path}/a.sock"
    with socket.socket(socket.AF_UNIX) as listener, ExitStack() as stack:
        listener.bind(place)
        listener.listen(0)
        full = False
        while not full:
            client = stack.enter_context(socket.socket(socket.AF_UNIX))
            client.setblocking(False)
            full = client.connect_ex(place) != 0
        with pytest.raises(Unreachable, match="takes no more clients: is it stopped"):
            Client(place, timeout=0.05)


def test_a_place_in_the_backlog_is_waited_for(tmp_path: Path) -> None:
    place = f"{tmp_path}/a.sock"
    with socket.socket(socket.AF_UNIX) as listener, socket.socket(socket.AF_UNIX) as first:
        listener.bind(place)
        listener.listen(0)
        first.connect(place)

        def accept_both() -> None:
            listener.accept()[0].close()
            connection, _ = listener.accept()
            with connection:
                Wire(connection).hello()

        accepting = threading.Timer(0.1, accept_both)
        accepting.start()
        with Client(place) as client:
            assert client.hello.pid == 71
        accepting.join()


def test_a_place_without_a_server_says_what_is_there(tmp_path: Path) -> None:
    dead, datagrams, file = tmp_path / "dead", tmp_path / "datagrams", tmp_path / "file"
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(dead))
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as other:
        other.bind(str(datagrams))
        file.write_text("", encoding="utf-8")
        sentences = {
            str(tmp_path / "none"): "there is no control socket at {}",
            f"{file}/none": "there is no control socket at {}",
            "@manyhands.none": "there is no control socket at {}",
            str(dead): "no server listens at {}",
            str(file): "no server listens at {}",
            str(datagrams): "{} is a socket for datagrams, and no control socket",
            f"{tmp_path}/{'x' * 108}": "cannot connect to {}: af_unix path too long",
        }
        for place, sentence in sentences.items():
            with pytest.raises(Unreachable) as unreachable:
                Client(place)
            assert str(unreachable.value) == sentence.format(place)
            assert unreachable.value.is_gone == sentence.startswith("no server listens")


WITHOUT_DESCRIPTORS = """
import resource, sys
from manyhands.control.client import Client, Unreachable

resource.setrlimit(resource.RLIMIT_NOFILE, (3, resource.getrlimit(resource.RLIMIT_NOFILE)[1]))
try:
    Client(sys.argv[1])
except Unreachable as problem:
    print(problem)
"""


def test_a_client_without_a_descriptor_is_told_so_in_a_sentence(serve: Serve) -> None:
    place = serve(answering({}))
    said = run_python(WITHOUT_DESCRIPTORS, place)
    assert said == f"cannot connect to {place}: too many open files\n"


def test_it_loads_little_and_nothing_of_an_extra() -> None:
    program = "import sys; import manyhands.control.discovery; print(*sys.modules)"
    loaded = {name.partition(".")[0] for name in run_python(program).split()}
    heavy = {
        "argparse",
        "asyncio",
        "dataclasses",
        "ipaddress",
        "logging",
        "pathlib",
        "ssl",
        "subprocess",
    }
    assert not loaded & (heavy | {"gevent", "greenlet", "prometheus_client", "textual"})


AS_OTHERS = """
    import os, socket, sys
    from manyhands.control.client import Client, Unreachable

    def said(user, place):
        os.seteuid(user)
        try:
            Client(place, timeout=0).close()
        except Unreachable as problem:
            return str(problem)
        finally:
            os.seteuid(0)

    private, public, foreign = sys.argv[1:]
    listeners = []
    for user, place in ((0, private), (0, public), (4711, foreign)):
        os.seteuid(user)
        listeners.append(socket.socket(socket.AF_UNIX))
        listeners[-1].bind(place.replace("@", chr(0)))
        listeners[-1].listen()
        os.seteuid(0)
    os.chmod(private, 0o600)
    for user, place in ((4712, private), (4712, public), (4712, foreign), (4711, foreign), (0, foreign)):
        print(said(user, place))
"""


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may become other users")
def test_a_user_speaks_with_servers_of_this_user_and_of_root_and_root_with_all() -> None:
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)
        private, public, foreign = (
            f"{folder}/a.sock",
            f"@mh-{os.getpid()}-r",
            f"@mh-{os.getpid()}-u",
        )
        silent = "the server at {} says nothing: it is stopped, or no server of manyhands"
        assert run_python(AS_OTHERS, private, public, foreign).splitlines() == [
            f"{private} is not for this user: it lets in its server's user, and root",
            silent.format(public),
            f"what listens at {foreign} is a process of user 4711, and no server of yours",
            silent.format(foreign),
            silent.format(foreign),
        ]
