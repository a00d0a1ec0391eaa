"""Where control sockets are made, and how they are found again."""

import fcntl
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from manyhands.control import places
from manyhands.listening.proc_net import listening
from manyhands.model.usage_errors import Mistake

UID, PID = os.geteuid(), os.getpid()

ABSTRACT = f"@manyhands.{UID}.{PID}"


@pytest.fixture
def runtime(tmp_path: Path) -> Path:
    """The user's runtime folder."""
    folder = tmp_path / "run"
    folder.mkdir(mode=0o700)
    return folder


def listening_at(place: str) -> "closing[socket.socket]":
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(places.socket_address(place))
    listener.listen()
    return closing(listener)


def leave_behind(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(path))


@pytest.fixture
def ended() -> Iterator[int]:
    """The number of a process that has ended; no other one gets it before it is waited for."""
    with subprocess.Popen([sys.executable, "-c", ""]) as process:
        process.wait()
        yield process.pid


def test_the_folder_of_the_service_comes_first_then_the_user_s_and_then_an_abstract_name(
    runtime: Path, tmp_path: Path
) -> None:
    variables = {"RUNTIME_DIRECTORY": f"{tmp_path}:/elsewhere", "XDG_RUNTIME_DIR": str(runtime)}
    assert list(places.defaults(variables)) == [
        f"{tmp_path}/manyhands-{PID}.sock",
        f"{runtime}/manyhands/{PID}.sock",
        ABSTRACT,
    ]


def test_our_folder_is_made_for_the_user_alone(runtime: Path) -> None:
    list(places.defaults({"XDG_RUNTIME_DIR": str(runtime)}))
    made = (runtime / "manyhands").stat()
    assert (made.st_mode & 0o777, made.st_uid) == (0o700, UID)


def test_a_folder_is_made_only_when_its_turn_comes(runtime: Path, tmp_path: Path) -> None:
    variables = {"RUNTIME_DIRECTORY": str(tmp_path), "XDG_RUNTIME_DIR": str(runtime)}
    next(places.defaults(variables))
    assert list(runtime.iterdir()) == []


@pytest.mark.parametrize("name", ["RUNTIME_DIRECTORY", "XDG_RUNTIME_DIR"])
@pytest.mark.parametrize("value", ["", "relative", "/there/is/none", "/proc/version"])
def test_a_folder_that_is_none_is_passed_over(
    name: str, value: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "relative").mkdir()
    assert list(places.defaults({name: value})) == [ABSTRACT]
    assert list((tmp_path / "relative").iterdir()) == []


@pytest.mark.skipif(UID != 0, reason="needs root, to give a folder away")
@pytest.mark.parametrize("foreign", ["", "manyhands"])
def test_a_folder_of_another_user_is_passed_over(foreign: str, runtime: Path) -> None:
    (runtime / "manyhands").mkdir()
    os.chown(runtime / foreign, 12345, -1)
    assert list(places.defaults({"XDG_RUNTIME_DIR": str(runtime)})) == [ABSTRACT]


def test_a_link_in_the_place_of_our_folder_is_not_followed(runtime: Path, tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    (runtime / "manyhands").symlink_to(tmp_path / "elsewhere")
    assert list(places.defaults({"XDG_RUNTIME_DIR": str(runtime)})) == [ABSTRACT]


def test_a_folder_whose_name_leaves_no_room_is_passed_over(tmp_path: Path) -> None:
    long = tmp_path / ("x" * (places.LONGEST - len(str(tmp_path)) - 1))
    long.mkdir()
    assert len(os.fsencode(long)) == places.LONGEST
    variables = {"RUNTIME_DIRECTORY": str(long), "XDG_RUNTIME_DIR": str(long)}
    assert list(places.defaults(variables)) == [ABSTRACT]


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ("/run/x.sock", "/run/x.sock"),
        ("x.sock", "x.sock"),
        ("@here", "@here"),
        ("unix:///run/x.sock", "/run/x.sock"),
        ("unix://@here", "@here"),
    ],
)
def test_a_place_may_be_given_as_a_path_or_a_name(text: str, place: str) -> None:
    assert places.given(text) == place


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "it is a path, or @NAME"),
        ("@", "it is a path, or @NAME"),
        ("unix://", "it is a path, or @NAME"),
        ("a\0b", "a path has no NUL in it"),
        ("/" + "é" * 54, "it is longer than 107 bytes, and the system takes no more"),
    ],
)
def test_what_is_no_place_is_refused_in_a_sentence(text: str, why: str) -> None:
    with pytest.raises(Mistake) as refused:
        places.given(text)
    assert str(refused.value) == f"{text!r} is no place of a control socket: {why}"


def texts(found: list[places.Place]) -> list[str]:
    return [place.text for place in found]


def test_what_was_made_in_each_default_place_is_found(runtime: Path, tmp_path: Path) -> None:
    variables = {"RUNTIME_DIRECTORY": str(tmp_path), "XDG_RUNTIME_DIR": str(runtime)}
    for place in places.defaults(variables):
        with listening_at(place):
            assert (place, PID, UID) in [each[:3] for each in places.find(variables)]


def test_what_was_made_in_other_folders_is_found_too(runtime: Path, tmp_path: Path) -> None:
    variables = {"RUNTIME_DIRECTORY": str(tmp_path), "XDG_RUNTIME_DIR": str(runtime)}
    [service, own, _] = places.defaults(variables)
    with listening_at(service), listening_at(own):
        assert {service, own} <= set(texts(places.find({})))


def test_a_folder_is_one_whichever_way_it_is_written(runtime: Path, tmp_path: Path) -> None:
    [made, _] = places.defaults({"XDG_RUNTIME_DIR": f"{runtime}//."})
    assert made == f"{runtime}/manyhands/{PID}.sock"
    link = tmp_path / "link"
    link.symlink_to(runtime)
    # As a server of another version had it.
    for text in (f"{runtime}//manyhands/{PID}.sock", f"{link}/manyhands/{PID}.sock"):
        with listening_at(text):
            found = texts(places.find({"XDG_RUNTIME_DIR": f"{runtime}/"}))
            assert [each for each in found if str(tmp_path) in each] == [made]
        Path(made).unlink()


def test_a_path_of_another_process_s_folder_is_passed_over(
    runtime: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(runtime)
    with listening_at("manyhands-71.sock"):
        assert "manyhands-71.sock" not in texts(places.find({}))


def test_what_is_found_is_in_the_order_of_the_processes(runtime: Path) -> None:
    variables = {"XDG_RUNTIME_DIR": str(runtime)}
    next(places.defaults(variables))
    for pid in (1000, 99, 3):
        leave_behind(runtime / "manyhands" / f"{pid}.sock")
    found = [each.pid for each in places.find(variables) if str(runtime) in each.text]
    assert found == [3, 99, 1000]


def test_other_files_and_other_sockets_are_not_taken_for_a_server_s(runtime: Path) -> None:
    variables = {"XDG_RUNTIME_DIR": str(runtime), "RUNTIME_DIRECTORY": str(runtime)}
    folder = runtime / "manyhands"
    folder.mkdir()
    (folder / "71.sock").write_text("no socket")
    leave_behind(runtime / "71.sock")
    leave_behind(folder / "x.sock")
    leave_behind(folder / "71.sock.old")
    with listening_at(f"@manyhands.{UID}.{PID}.x"), listening_at(f"@manyhands.{UID}"):
        found = texts(places.find(variables))
    assert not [text for text in found if str(runtime) in text or text.endswith((".x", f".{UID}"))]


def test_what_another_user_has_is_not_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = f"{tmp_path}/manyhands-71.sock"
    with listening_at(path), listening_at(f"@manyhands.{UID}.71"):
        monkeypatch.setattr(os, "geteuid", lambda: 12345)
        assert not {path, f"@manyhands.{UID}.71"} & set(texts(places.find({})))


def test_only_stream_sockets_that_listen_are_read_from_the_kernel_s_table() -> None:
    table = b"""Num       RefCount Protocol Flags    Type St Inode Path
0000000000000000: 00000002 00000000 00010000 0001 01 101 @manyhands.0.1
0000000000000000: 00000003 00000000 00000000 0001 03 102 @manyhands.0.2
0000000000000000: 00000002 00000000 00010000 0005 01 103 @manyhands.0.3
0000000000000000: 00000002 00000000 00000000 0001 01 104 @manyhands.0.4
0000000000000000: 00000002 00000000 00010000 0001 01 105
0000000000000000: 00000002 00000000 00010000 0001 01 106 /run/a folder/manyhands-6.sock
"""
    assert list(listening(table)) == [b"@manyhands.0.1", b"/run/a folder/manyhands-6.sock"]


def test_the_file_of_a_server_that_is_gone_is_removed(runtime: Path) -> None:
    dead = runtime / "manyhands-71.sock"
    leave_behind(dead)
    places.remove_dead([places.Place(str(dead), 71, UID)])
    assert not dead.exists()


def test_the_file_of_a_server_that_answers_is_left(runtime: Path) -> None:
    live = f"{runtime}/manyhands-71.sock"
    with listening_at(live):
        places.remove_dead([places.Place(live, 71, UID)])
        assert Path(live).exists()


def test_the_file_of_a_server_that_is_about_to_listen_is_left(runtime: Path) -> None:
    starting = f"{runtime}/manyhands-71.sock"
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(starting)
        places.remove_dead([places.Place(starting, 71, UID)])
        assert Path(starting).exists()


def test_what_cannot_be_removed_is_no_error(tmp_path: Path) -> None:
    for text in (f"{tmp_path}/none.sock", f"{tmp_path}/no/folder.sock", "@manyhands.0.71"):
        places.remove_dead([places.Place(text, 71, UID)])
    other = tmp_path / "manyhands-71.sock"
    leave_behind(other)
    places.remove_dead([places.Place(str(other), 71, UID + 1)])
    assert other.exists()


def test_a_starting_server_removes_what_ended_ones_have_left_and_nothing_else(
    runtime: Path, ended: int
) -> None:
    variables = {"XDG_RUNTIME_DIR": str(runtime)}
    list(places.defaults(variables))
    folder = runtime / "manyhands"
    leave_behind(folder / f"{ended}.sock")
    leave_behind(folder / f"{os.getppid()}.sock")
    leave_behind(folder / "a.sock")
    places.remove_dead_ones(variables)
    left = {file.name for file in folder.iterdir()}
    assert left == {f"{os.getppid()}.sock", "a.sock"}


def test_a_live_server_that_this_process_cannot_see_is_left(runtime: Path, ended: int) -> None:
    # Of another container, whose processes have numbers of their own.
    variables = {"XDG_RUNTIME_DIR": str(runtime)}
    list(places.defaults(variables))
    live = f"{runtime}/manyhands/{ended}.sock"
    with listening_at(live):
        places.remove_dead_ones(variables)
        assert Path(live).exists()


def test_a_folder_that_another_program_keeps_locked_is_left_as_it_is_at_once(
    runtime: Path, ended: int
) -> None:
    variables = {"RUNTIME_DIRECTORY": str(runtime)}
    dead = [runtime / f"manyhands-{number}.sock" for number in (ended, 4_000_001, 4_000_002)]
    for each in dead:
        leave_behind(each)
    holder = os.open(runtime, os.O_RDONLY)
    try:
        fcntl.flock(holder, fcntl.LOCK_EX)
        began = time.monotonic()
        places.remove_dead_ones(variables)
        assert time.monotonic() - began < 1
        assert all(each.exists() for each in dead)
    finally:
        os.close(holder)
    places.remove_dead_ones(variables)
    assert not any(each.exists() for each in dead)
