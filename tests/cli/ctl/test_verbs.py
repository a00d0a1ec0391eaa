"""What `manyhands ctl` asks a server for, what it prints of the answer, and with which status it ends."""

import os
import signal
import subprocess
import sys
from collections.abc import Mapping
from typing import Any

import pytest

from tests.cli.ctl.conftest import Ctl
from tests.control.kit import RefusalError
from tests.support.programs import environment


def connection(number: int, **changes: object) -> dict[str, object]:
    return {
        "id": str(number),
        "server": 1,
        "peer": f"192.0.2.{number}:5000",
        "listener": "127.0.0.1:8008",
        "handler": "Echo",
        "state": "open",
        "age": 61.0,
        "silent": None,
        "in": 1200,
        "out": 12,
        "reason": None,
        **changes,
    }


def page(*items: Mapping[str, object], **changes: object) -> dict[str, object]:
    return {"items": [*items], "next": None, "total": len(items), "open": len(items), **changes}


def test_connections_are_a_table(ctl: Ctl) -> None:
    ctl.answer({"connections.list": page(connection(1), connection(2, silent=0.5, peer="/run/x"))})
    assert ctl.says("connections").splitlines() == [
        "ID  PEER            STATE       AGE  SILENT      IN   OUT  LISTENER        HANDLER",
        " 1  192.0.2.1:5000  open   1 m 01 s       -  1.2 kB  12 B  127.0.0.1:8008  Echo",
        " 2  /run/x          open   1 m 01 s   0.5 s  1.2 kB  12 B  127.0.0.1:8008  Echo",
        "2 connections",
    ]
    assert ctl.asked == [("connections.list", {})]


def test_columns_that_say_something_are_added(ctl: Ctl) -> None:
    marked = connection(
        2, server=2, waiting=4000, missed=3, rooms=["red", "blue"], rooms_total=1002, reason="drain"
    )
    ctl.answer({"connections.list": page(connection(1, waiting=0, rooms=[]), marked)})
    headings, first, second, _ = ctl.says("connections").splitlines()
    assert headings.split() == [
        *("ID", "PEER", "STATE", "AGE", "SILENT", "IN", "OUT", "WAITING", "MISSED", "SERVER"),
        *("LISTENER", "HANDLER", "ROOMS", "REASON"),
    ]
    assert first.split()[12:] == ["0", "B", "-", "1", "127.0.0.1:8008", "Echo", "-"]
    assert second.endswith("red, blue, 1,000 more  drain")


@pytest.mark.parametrize(
    ("words", "params"),
    [
        ("--sort -in", {"sort": "-in"}),
        ("--sort=-in", {"sort": "-in"}),
        ("--sort age --limit 5", {"sort": "age", "limit": 5}),
        (
            "--idle-over 1m --room red --peer 10.0.0.0/8",
            {"where": {"idle_over": 60.0, "room": "red", "peer": "10.0.0.0/8"}},
        ),
        (
            "--state open --listener a --handler Echo --text x --age-over 1.5 --server 2",
            {
                "where": {
                    "state": "open",
                    "listener": "a",
                    "handler": "Echo",
                    "text": "x",
                    "age_over": 1.5,
                    "server": 2,
                }
            },
        ),
    ],
)
def test_connections_are_filtered_and_sorted_by_the_server(
    ctl: Ctl, words: str, params: dict[str, object]
) -> None:
    ctl.answer({"connections.list": page(connection(1))})
    assert ctl.says("connections", *words.split()).splitlines()[-1] == "1 connection"
    assert ctl.asked == [("connections.list", params)]


def test_where_there_are_none_on_a_listener_it_is_told_whether_there_is_that(ctl: Ctl) -> None:
    status = {"servers": [{"listeners": [listener("a")]}]}
    ctl.answer({"connections.list": page(), "status": status})
    assert ctl.says("connections", "--listener", "a") == "0 connections\n"
    assert ctl.says("connections", "--listener", "b", status=1) == ""
    assert ctl.errors == "manyhands: there is no listener b; there is a\n"


def test_the_last_line_says_how_many_there_are_besides(ctl: Ctl) -> None:
    ctl.answer({"connections.list": page(connection(1), next="c", total=1, open=10_000)})
    assert ctl.says("connections").splitlines()[-1] == (
        "1 connection, of 10,000 open; --limit shows more, --all all"
    )
    ctl.answer_next({"connections.list": page(connection(1), total=3000, open=3000)})
    assert ctl.says("connections").splitlines()[-1] == "1 of 3,000 connections"


def test_all_connections_are_asked_for_page_by_page(ctl: Ctl) -> None:
    pages = {
        None: page(connection(1), next="p2", total=2, open=3),
        "p2": page(connection(2), total=2, open=3),
    }
    ctl.answer({"connections.list": lambda params: pages[params.get("after")]})
    result = ctl.says_json("connections", "--all", "--room", "red")
    assert [item["id"] for item in result["items"]] == ["1", "2"]
    assert (result["next"], result["total"], result["open"]) == (None, 2, 3)
    asked = {"where": {"room": "red"}, "limit": 1000}
    assert [params for _, params in ctl.asked] == [asked, asked | {"after": "p2"}]


def test_one_connection_is_told_of_with_all_that_is_known(ctl: Ctl) -> None:
    about = connection(
        7,
        silent=3.0,
        waiting=100,
        missed=1,
        rooms=["red"],
        local="127.0.0.1:8008",
        tls={"version": "TLSv1.3", "cipher": "TLS_AES", "client": None},
        proxy=None,
        deadlines={"idle_timeout": 300, "write_timeout": None, "max_age": None},
        stack=["shop.py:7 in handle", "shop.py:9 in \x1b[2J"],
        pid=72,
        reason="idle_timeout",
    )
    ctl.answer({"connections.get": about})
    assert ctl.says("connection", "#7").splitlines() == [
        "id         7",
        "client     192.0.2.7:5000",
        "called     127.0.0.1:8008, server 1",
        "local      127.0.0.1:8008",
        "state      open, idle_timeout",
        "handler    Echo",
        "process    72",
        "age        1 m 01 s",
        "silent     3.0 s",
        "in         1.2 kB",
        "out        12 B",
        "waiting    100 B",
        "missed     1",
        "rooms      red",
        "tls        version TLSv1.3, cipher TLS_AES",
        "deadlines  idle_timeout 5 m 00 s",
        "    shop.py:7 in handle",
        r"    shop.py:9 in \x1b[2J",
    ]
    assert ctl.asked == [("connections.get", {"id": "7"})]


def test_where_a_handler_stands_may_not_be_known(ctl: Ctl) -> None:
    about = connection(7, tls=None, proxy=None, deadlines={}, stack=None, pid=None)
    ctl.answer({"connections.get": about})
    assert ctl.says("connection", "7").splitlines()[-1] == "    (where it stands is not known)"


def test_a_connection_is_closed_by_its_id(ctl: Ctl) -> None:
    ctl.answer({"connections.close": {"closed": ["1742"], "gone": []}})
    assert ctl.says("close", "1742") == "closed 1742\n"
    assert ctl.asked == [("connections.close", {"id": "1742"})]


def test_of_several_those_that_are_gone_make_a_failure(ctl: Ctl) -> None:
    ctl.answer({"connections.close": {"closed": ["1", "2"], "gone": ["3"]}})
    assert ctl.says("close", "#1", "2", "3", status=1) == "closed 1, 2\nnot open any more: 3\n"
    assert ctl.asked == [("connections.close", {"ids": ["1", "2", "3"]})]


def test_thousands_are_closed_in_requests_that_a_server_takes(ctl: Ctl) -> None:
    ctl.answer({"connections.close": lambda params: {"closed": params["ids"], "gone": []}})
    ids = [str(number) for number in range(2500)]
    assert ctl.says("close", *ids) == f"closed {', '.join(ids)}\n"
    assert [len(params["ids"]) for _, params in ctl.asked] == [1000, 1000, 500]


LIMITS = [
    {
        "server": 1,
        "name": "max_connections",
        "value": 500,
        "default": 10000,
        "unit": "",
        "help": "h",
    },
    {
        "server": 1,
        "name": "idle_timeout",
        "value": None,
        "default": 300,
        "unit": "seconds",
        "help": "i",
    },
    {
        "server": 1,
        "name": "deny",
        "value": ["10.0.0.0/8", "::1"],
        "default": None,
        "unit": "",
        "help": "n",
    },
]


def test_limits_are_a_table(ctl: Ctl) -> None:
    ctl.answer({"limits.get": {"items": LIMITS}})
    assert ctl.says("limits").splitlines() == [
        "NAME             VALUE            DEFAULT  UNIT     HELP",
        "max_connections  500              10000             h",
        "idle_timeout     none             300      seconds  i",
        "deny             10.0.0.0/8, ::1  none              n",
    ]
    several = [*LIMITS, LIMITS[0] | {"server": 2}]
    ctl.answer_next({"limits.get": {"items": several}})
    assert ctl.says("limits", "max-connections", "--server", "2").splitlines() == [
        "SERVER  NAME             VALUE  DEFAULT  UNIT  HELP",
        "     1  max_connections  500    10000          h",
        "     2  max_connections  500    10000          h",
    ]
    assert ctl.asked == [("limits.get", {}), ("limits.get", {"server": 2})]


def test_of_one_limit_all_is_told_in_full(ctl: Ctl) -> None:
    ctl.answer({"limits.get": {"items": LIMITS}})
    assert ctl.says("limits", "idle_timeout").splitlines() == [
        "name     idle_timeout",
        "value    none",
        "default  300 seconds",
        "help     i",
    ]


def test_a_limit_that_there_is_not_is_named_with_the_one_that_was_meant(ctl: Ctl) -> None:
    ctl.answer({"limits.get": {"items": LIMITS}})
    assert ctl.is_refused("limits", "max_conections") == (
        "there is no limit 'max_conections'; did you mean max_connections?"
    )
    assert ctl.is_refused("limits", "x").endswith("; there are max_connections, idle_timeout, deny")


def test_limits_are_set_all_at_once(ctl: Ctl) -> None:
    ctl.answer({"limits.set": lambda params: {"values": params["values"]}})
    assert ctl.says("limits", "max-connections=500", "idle_timeout=none", "--server", "1") == (
        "max_connections  500\nidle_timeout     none\n"
    )
    assert ctl.asked == [
        ("limits.set", {"values": {"max_connections": 500, "idle_timeout": None}, "server": 1})
    ]


@pytest.mark.parametrize(
    ("word", "value"),
    [
        ("1.5", 1.5),
        ("0", 0),
        ("1e3", 1000.0),
        ("None", None),
        ("null", "null"),
        ("yes", True),
        ("no", False),
        ("true", True),
        ("refuse", "refuse"),
        ("10.0.0.0/8,::1", "10.0.0.0/8,::1"),
        ('["10.0.0.0/8"]', ["10.0.0.0/8"]),
        ('"500"', "500"),
        ("NaN", "NaN"),
        ("Infinity", "Infinity"),
        ("a=b", "a=b"),
    ],
)
def test_a_limit_s_value_is_what_its_word_stands_for(ctl: Ctl, word: str, value: object) -> None:
    ctl.answer({"limits.set": lambda params: {"values": params["values"]}})
    ctl.says("limits", f"refusal={word}")
    assert ctl.asked == [("limits.set", {"values": {"refusal": value}})]


def test_a_listener_is_suspended_and_resumed(ctl: Ctl) -> None:
    items = [
        {"server": 1, "address": "127.0.0.1:8008", "is_suspended": True},
        {"server": 2, "address": "[::1]:8008", "is_suspended": False},
    ]
    ctl.answer(
        {"listeners.suspend": {"listeners": items}, "listeners.resume": {"listeners": items[:1]}}
    )
    assert ctl.says("suspend", "127.0.0.1:8008").splitlines() == [
        "SERVER  LISTENER",
        "     1  127.0.0.1:8008  suspended",
        "     2  [::1]:8008      takes clients",
    ]
    said = ctl.says("resume", "--server", "2")
    assert said == "LISTENER\n127.0.0.1:8008  suspended\n"
    assert ctl.asked == [
        ("listeners.suspend", {"listener": "127.0.0.1:8008"}),
        ("listeners.resume", {"server": 2}),
    ]


def test_a_server_is_drained_and_reloaded(ctl: Ctl) -> None:
    ctl.answer(
        {"drain": {"is_draining": True}, "reload": {"reloaded": True, "what": "certificates"}}
    )
    assert ctl.says("drain", "--timeout", "10").startswith("no new clients: the servers end when")
    assert ctl.says("drain")
    assert ctl.says("reload") == "reloaded: certificates\n"
    assert ctl.asked == [("drain", {"timeout": 10.0}), ("drain", {}), ("reload", {})]


def test_stacks_are_told_innermost_call_last(ctl: Ctl) -> None:
    result = {
        "items": [
            {
                "id": "7",
                "peer": "x",
                "handler": "Echo",
                "stack": ["a:1 in f", "b:2 in g"],
                "pid": None,
            },
            {"id": "8", "peer": "y", "handler": "Echo", "stack": None, "pid": 72},
        ],
        "threads": [
            {"name": "MainThread", "ident": 5, "stack": ["c:3 in h"]},
            {"name": "", "ident": 6, "stack": None},
        ],
        "total": 3,
    }
    ctl.answer({"stacks": result})
    assert ctl.says("stacks").splitlines() == [
        "7 x Echo",
        "    a:1 in f",
        "    b:2 in g",
        "8 y Echo, process 72",
        "    (where it stands is not known)",
        "thread 5 MainThread",
        "    c:3 in h",
        "thread 6 (without a name)",
        "    (where it stands is not known)",
        "2 of 3 handlers; --limit shows more",
    ]
    ctl.says("stacks", "7", "--limit", "1")
    assert ctl.asked == [("stacks", {}), ("stacks", {"id": "7", "limit": 1})]


def test_rooms_are_a_table(ctl: Ctl) -> None:
    rooms: list[dict[str, object]] = []
    ctl.answer({"rooms.list": lambda _: {"items": rooms}})
    assert ctl.says("rooms") == "no room has a member\n"
    rooms.append({"server": 1, "room": "red", "members": 1200})
    assert ctl.says("rooms") == "ROOM  MEMBERS\nred     1,200\n"
    rooms.append({"server": 2, "room": "red", "members": 1})
    assert ctl.says("rooms").splitlines()[0] == "ROOM  MEMBERS  SERVER"


def test_rooms_of_several_pages_are_shown_in_part_or_all(ctl: Ctl) -> None:
    def page(params: dict[str, Any]) -> dict[str, Any]:
        is_first = "after" not in params
        item = {"server": 1, "room": "blue" if is_first else "red", "members": 1}
        return {"items": [item], "next": "1 blue" if is_first else None, "total": 2}

    ctl.answer({"rooms.list": page})
    assert ctl.says("rooms", "--limit", "1").splitlines() == [
        "ROOM  MEMBERS",
        "blue        1",
        "1 of 2 rooms; --limit shows more, --all all",
    ]
    assert ctl.says("rooms", "--all").splitlines()[1:] == ["blue        1", "red         1"]


@pytest.mark.parametrize(
    ("words", "params"),
    [
        (["hello all"], {"text": "hello all\n"}),
        (["hello", "-n"], {"text": "hello"}),
        (["你好"], {"text": "你好\n"}),
        (["\udcff"], {"base64": "/wo="}),
        (["x", "--server", "2"], {"text": "x\n", "server": 2}),
        (["--", "--x"], {"text": "--x\n"}),
    ],
)
def test_a_room_is_told_a_line(ctl: Ctl, words: list[str], params: dict[str, object]) -> None:
    ctl.answer({"rooms.tell": {"told": 1200}})
    assert ctl.says("tell", "red", *words) == "told 1,200\n"
    assert ctl.asked == [("rooms.tell", {"room": "red", **params})]


def test_metrics_are_printed_as_they_are(ctl: Ctl) -> None:
    text = '# HELP a b\na 1.0\nb{c="\x1b"} 2.0\n'
    ctl.answer({"metrics": {"text": text, "content_type": "text/plain"}})
    assert ctl.says("metrics") == text.replace("\x1b", r"\x1b")
    assert ctl.says_json("metrics", "--server", "2")["text"] == text
    assert ctl.asked == [("metrics", {}), ("metrics", {"server": 2})]


def test_a_reader_that_has_gone_is_no_failure_of_its_own(ctl: Ctl) -> None:
    ctl.answer({"metrics": {"text": "x\n" * 100_000}})
    reading, writing = os.pipe()
    os.close(reading)
    with os.fdopen(writing, "wb") as output:
        done = subprocess.run(
            [sys.executable, "-m", "manyhands", "ctl", "--control", ctl.place, "metrics"],
            stdout=output,
            stderr=subprocess.PIPE,
            env=environment(),
            timeout=30,
            check=False,
        )
    assert (done.returncode, done.stderr) == (128 + signal.SIGPIPE, b"")


def test_the_verbs_of_the_protocol_are_a_table(ctl: Ctl) -> None:
    param = {"name": "id", "type": "string", "help": "which", "required": True}
    items = [
        {"name": "status", "writes": False, "params": [], "help": "how it is"},
        {
            "name": "drain",
            "writes": True,
            "params": [param, param | {"required": False}],
            "help": "x",
        },
    ]
    ctl.answer({"verbs": {"items": items}})
    assert ctl.says("verbs").splitlines() == [
        "VERB    CHANGES  PARAMS   HELP",
        "status                    how it is",
        "drain   yes      id, id?  x",
    ]


def listener(address: str, **changes: object) -> dict[str, object]:
    rest = {"is_suspended": False, "waiting": None, "backlog": None, "dropped": None}
    return {"address": address, **rest, **changes}


STATUS: dict[str, Any] = {
    "pid": 71,
    "manyhands": "0.9",
    "python": "3.13.0",
    "started": "a while ago",
    "uptime": 11_520.0,
    "role": "server",
    "name": "serve shop:Echo",
    "may": ["read"],
    "books": {"accepted": 12345, "open": 120, "closed": 12225, "refused": 30},
    "process": {
        "cpu_seconds": 75.0,
        "rss": 34_000_000,
        "descriptors": 140,
        "descriptor_limit": 1024,
        "threads": 12,
    },
    "servers": [
        {
            "server": 1,
            "kind": "Server",
            "handler": "Echo",
            "listeners": [
                {
                    "address": "127.0.0.1:8008",
                    "is_suspended": True,
                    "waiting": 3,
                    "backlog": 128,
                    "dropped": None,
                },
                listener("/run/x", dropped=2),
                listener("/run/y"),
            ],
            "engines": [
                {"name": "fibers", "running": 120, "limit": 500, "hub_delay": 0.012},
                {"name": "threads", "running": 1, "limit": None, "hub_delay": None},
            ],
            "is_draining": True,
            "accepted": 12345,
            "open": {"open": 118, "accepted": 0, "closing": 2},
            "closed": {"peer_closed": 12_000, "refused_ip": 30, "idle_timeout": 195},
            "dropped": {},
            "rooms": 3,
            "bytes_in": 1_200_000,
            "bytes_out": 3_400,
            "certificates": {"old.pem": 86_400.0 * 365},
        }
    ],
}


def test_the_status_is_told_in_lines(ctl: Ctl) -> None:
    ctl.answer({"status": STATUS})
    assert ctl.says("status").splitlines() == [
        "process  71, serve shop:Echo",
        "version  manyhands 0.9 on Python 3.13.0",
        "up       3 h 12 m, since a while ago",
        "books    12,345 accepted = 120 open + 12,225 closed, 30 of these refused",
        "uses     1 m 15 s of processor time, 34 MB of memory, 140 of 1,024 descriptors, 12 threads",
        "",
        "server       1, Server of Echo",
        "listener     127.0.0.1:8008: suspended, 3 of 128 wait",
        "listener     /run/x: 2 datagrams dropped by the kernel",
        "listener     /run/y",
        "engine       fibers: 120 of 500 running, hub 12 ms late",
        "engine       threads: 1 running",
        "drains       yes: it ends when its connections have",
        "open         open 118, closing 2",
        "closed       peer_closed 12,000, idle_timeout 195, refused_ip 30",
        "rooms        3",
        "bytes        1.2 MB in, 3.4 kB out",
        "certificate  old.pem has expired, 1971-01-01",
    ]


def test_what_is_not_known_of_a_status_is_left_out(ctl: Ctl) -> None:
    status = STATUS | {"servers": [], "started": "2026-11-30T01:02:03.000Z"}
    status["process"] |= {"descriptor_limit": None, "descriptors": None}
    ctl.answer({"status": status})
    said = ctl.says("status")
    assert ", - descriptors," in said
    assert ", since 2026-11-" in said


def test_any_answer_is_json_for_programs_which_no_terminal_obeys(ctl: Ctl) -> None:
    peer = "\x1b\x9b\N{RIGHT-TO-LEFT OVERRIDE}\N{CJK UNIFIED IDEOGRAPH-56DB}\udcff"
    result = page(connection(1, peer=peer))
    ctl.answer({"connections.list": result})
    assert ctl.says_json("connections") == result
    printed = ctl.says("connections", "--json")
    assert r"\u001b\u009b\u202e" in printed
    assert "\N{CJK UNIFIED IDEOGRAPH-56DB}" in printed


def test_json_may_be_asked_for_before_the_verb_too(ctl: Ctl) -> None:
    ctl.answer({"reload": {"reloaded": True, "what": "x"}})
    assert ctl.says("--json", "reload") == '{"reloaded": true, "what": "x"}\n'


def test_what_the_server_refuses_is_said_and_is_a_failure(ctl: Ctl) -> None:
    def refuse(_: object) -> None:
        raise RefusalError(-32010, "there is no connection 9: \x1b[2J")

    ctl.answer({"connections.close": refuse})
    assert ctl.says("close", "9", status=1) == ""
    assert ctl.errors == "manyhands: there is no connection 9: \\x1b[2J\n"


@pytest.mark.parametrize("answer", [None, {}, {"items": [{}], "total": 1, "open": "x"}, ["x"]])
def test_an_answer_of_another_version_is_a_failure_and_is_there_as_json(
    ctl: Ctl, answer: object
) -> None:
    ctl.answer({"connections.list": answer})
    assert ctl.says("connections", status=1) == ""
    assert ctl.errors == (
        "manyhands: the server runs on manyhands 0.9, whose answer this version cannot show; "
        "--json prints it\n"
    )
    assert ctl.says_json("connections") == answer


def test_a_place_without_a_server_is_a_failure(ctl: Ctl) -> None:
    assert ctl.says("status", status=1) == ""
    assert ctl.errors == f"manyhands: there is no control socket at {ctl.place}\n"


def test_any_verb_of_the_protocol_may_be_called(ctl: Ctl) -> None:
    ctl.answer({"connections.list": lambda params: {"got": params, "é": ["\x1b"]}})
    assert ctl.says("call", "connections.list", '{"limit": 5}') == (
        '{\n  "got": {\n    "limit": 5\n  },\n  "é": [\n    "\\u001b"\n  ]\n}\n'
    )
    assert ctl.says_json("call", "connections.list") == {"got": {}, "é": ["\x1b"]}


VERBS = (
    "ls, status, connections, connection, close, limits, suspend, resume, drain, reload, upgrade, workers, "
    "stacks, rooms, tell, metrics, verbs, watch, call"
)

SEE = "(see python -m manyhands ctl {}--help)"


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        ([], f"say what to do, one of {VERBS} (see "),
        (["frobnicate"], f"there is no verb 'frobnicate' of ctl, only {VERBS} (see "),
        (["Conections"], "there is no verb 'Conections' of ctl; did you mean connections?"),
        (
            ["connections.list"],
            "there is no verb 'connections.list' of ctl; the server's verbs are called by ",
        ),
        (["close"], "the following arguments are required: ID; as in manyhands ctl close 1742; "),
        (["connection"], "the following arguments are required: ID (see "),
        (
            ["tell", "red"],
            "the following arguments are required: TEXT; as in manyhands ctl tell red ",
        ),
        (
            ["tell", "red", "a", "b"],
            "unrecognized arguments: b; the text is one word, in quotes (see ",
        ),
        (
            ["connections", "--sorted", "x"],
            "unrecognized arguments: --sorted; did you mean --sort? (see ",
        ),
        (["connections", "--sort"], "argument --sort: expected one argument (see "),
        (
            ["--socket", "x", "status"],
            "unrecognized arguments: --socket; did you mean --control? (see ",
        ),
        (["status", "x"], "unrecognized arguments: x (see "),
        (["connections", "--limit", "-1"], "--limit must be a whole number, not '-1'"),
        (
            ["connections", "--limit", "9999999999"],
            "--limit must be a whole number, not '9999999999'",
        ),
        (
            ["connections", "--idle-over", "soon"],
            "--idle-over must be a number of seconds from 0 up to ",
        ),
        (["drain", "--timeout", "-1"], "--timeout must be a number of seconds from 0 up to "),
        (["suspend", "--server", "x"], "--server must be a whole number, not 'x'"),
        (["workers", "stop"], "workers can be restarted and scaled (restart, scale), not 'stop'"),
        (["workers", "scale"], "say how many workers there are to be: workers scale NUMBER"),
        (["workers", "restart", "x"], "NUMBER must be a whole number, not 'x'"),
        (["limits", "a=1", "allow="], "allow: the value is missing; none takes a limit away"),
        (["limits", "a=1", "a=2"], "a is given twice"),
        (["limits", "a=1", "b"], "b has no value: say b=VALUE, or ask for it alone"),
        (
            ["call"],
            "the following arguments are required: VERB; as in manyhands ctl call connections",
        ),
        (["call", "x", "[1]"], "PARAMS must be an object of JSON, as '{\"limit\": 5}', not '[1]'"),
        (
            ["call", "x", "{"],
            "PARAMS must be an object of JSON, as '{\"limit\": 5}', not '{': Expecting ",
        ),
        (
            ["call", "x", "{}", "y"],
            "unrecognized arguments: y; the params are one word, an object of ",
        ),
        (["watch", "weather"], "what can be watched is events and stats, not 'weather'"),
        (["watch", "--every", "x"], "--every must be a number of seconds from 0 up to "),
        (["--control", "", "status"], "'' is no place of a control socket: it is a path, or @NAME"),
    ],
)
def test_a_mistake_is_one_sentence(ctl: Ctl, words: list[str], sentence: str) -> None:
    ctl.answer({})
    assert ctl.is_refused(*words).startswith(sentence)
