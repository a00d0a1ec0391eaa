"""Where control sockets are: those that a server makes by itself, and how the user's tools find them.

A place is a text: a path, or ``@name`` for a name in Linux's abstract namespace (unix(7)).
"""

import os
import re
import socket
import stat
import sys
from collections.abc import Iterable, Iterator, Mapping
from typing import NamedTuple

from manyhands.listening import proc_net, unix_paths
from manyhands.model.usage_errors import Mistake

LONGEST = 107
"""Bytes: `sun_path` holds 108 on Linux, and a path needs a closing NUL (unix(7))."""

FOLDER = "manyhands"

_IN_OWN_FOLDER = re.compile(rf"/{FOLDER}/(\d{{1,10}})\.sock")
_IN_SHARED_FOLDER = re.compile(r"/manyhands-(\d{1,10})\.sock")
_ABSTRACT = re.compile(r"@manyhands\.(\d{1,10})\.(\d{1,10})")


class Place(NamedTuple):
    """A control socket that was found. Whether a server still answers there is not known yet.

    Attributes
    ----------
    text : str
        The place, as `--control` takes it.
    pid, uid : int
        The process that made it, and its user.
    file : tuple of int or None
        The device and the inode of its file; None of an abstract name.
    """

    text: str
    pid: int
    uid: int
    file: tuple[int, int] | None = None

    @property
    def is_path(self) -> bool:
        """Whether it is a file, which a server that was killed leaves behind."""
        return not self.text.startswith("@")

    @property
    def is_own(self) -> bool:
        """Whether it is this user's."""
        return self.uid == os.geteuid()


def given(text: str) -> str:
    """Return the place that a person gave: a path, ``@name``, or either after ``unix://``.

    Raises
    ------
    Mistake
        It is no place of a socket; the sentence says why.
    """
    place = text.removeprefix("unix://")
    if place in {"", "@"}:
        raise Mistake(f"{text!r} is no place of a control socket: it is a path, or @NAME")
    if "\0" in place:
        raise Mistake(f"{text!r} is no place of a control socket: a path has no NUL in it")
    if len(os.fsencode(place)) > LONGEST:
        raise Mistake(
            f"{text!r} is no place of a control socket: it is longer than {LONGEST} bytes, and the system "
            "takes no more"
        )
    return place


def socket_address(place: str) -> str:
    """Return the address of a place as a socket takes it."""
    return f"\0{place[1:]}" if place.startswith("@") else place


def defaults(variables: Mapping[str, str] = os.environ) -> Iterator[str]:
    """Yield where this process may have its control socket, the best place first.

    The folder of systemd's service; the user's runtime folder, in which our own is made; an abstract name,
    for which nothing has to be there, and of which nothing is left behind.

    Parameters
    ----------
    variables : mapping
        The environment.
    """
    pid = os.getpid()
    for folder in _folders_of_service(variables):
        yield from _fitting(f"{folder}/manyhands-{pid}.sock")
    own = _own_folder(variables)
    if own is not None and _is_made(own):
        yield from _fitting(f"{own}/{pid}.sock")
    if sys.platform == "linux":
        yield f"@manyhands.{os.geteuid()}.{pid}"


def find(variables: Mapping[str, str] = os.environ) -> list[Place]:
    """Return the control sockets of this user's servers, in the order of their processes; root sees all.

    Only those with names as `defaults` has them: one that was given with `--control` may have any.

    Parameters
    ----------
    variables : mapping
        The environment.
    """
    texts = [*_in_folders(variables), *_listening()]
    found = [place for place in map(_place, texts) if place is not None]
    # Once each: the server may have come to the same file by another path.
    different = {place.file or place.text: place for place in reversed(found)}.values()
    return sorted(
        (place for place in different if place.is_own or os.geteuid() == 0),
        key=lambda place: (place.pid, place.text),
    )


def remove_dead(dead: Iterable[Place]) -> None:
    """Remove the files of servers that are gone.

    Only this user's files, and only while no server is behind them.
    """
    by_folder: dict[str, list[str]] = {}
    for place in dead:
        if place.is_path and place.is_own:
            folder, name = os.path.split(place.text)
            by_folder.setdefault(folder, []).append(name)
    for folder, names in by_folder.items():
        unix_paths.remove_stale(folder, names, socket.SOCK_STREAM)


def remove_dead_ones(variables: Mapping[str, str] = os.environ) -> None:
    """Remove what servers that are gone have left in the folders of `defaults`.

    Parameters
    ----------
    variables : mapping
        The environment.
    """
    found = map(_place, _in_folders(variables))
    # Without a call: each would be a client to a server that is alive.
    remove_dead(place for place in found if place is not None and not _is_alive(place.pid))


def _folders_of_service(variables: Mapping[str, str]) -> list[str]:
    # Several are separated by colons (RuntimeDirectory= in systemd.exec(5)).
    first = variables.get("RUNTIME_DIRECTORY", "").partition(":")[0]
    return [os.path.normpath(first)] if os.path.isabs(first) and os.path.isdir(first) else []


def _own_folder(variables: Mapping[str, str]) -> str | None:
    """Return our folder in the user's runtime folder, which may not be there yet; None without the latter."""
    runtime = variables.get("XDG_RUNTIME_DIR", "")
    # Relative ones are to be ignored, and it has to be the user's (XDG Base Directory Specification): under
    # `sudo` the variable may name the folder of another user.
    is_usable = os.path.isabs(runtime) and _is_own_folder(os.path.normpath(runtime))
    return os.path.normpath(f"{runtime}/{FOLDER}") if is_usable else None


def _is_own_folder(path: str) -> bool:
    try:
        found = os.lstat(path)
    except OSError:
        return False
    return stat.S_ISDIR(found.st_mode) and found.st_uid == os.geteuid()


def _is_made(folder: str) -> bool:
    try:
        os.mkdir(folder, 0o700)
    except OSError:
        # It is there already, or cannot be made.
        return _is_own_folder(folder)
    return True


def _fitting(path: str) -> Iterator[str]:
    if len(os.fsencode(path)) <= LONGEST:
        yield path


def _in_folders(variables: Mapping[str, str]) -> Iterator[str]:
    own = _own_folder(variables)
    for folder in [*_folders_of_service(variables), *([own] if own else [])]:
        try:
            names = os.listdir(folder)
        except OSError:
            continue
        yield from (f"{folder}/{name}" for name in names)


def _listening() -> Iterator[str]:
    """Yield the names of all sockets that listen, of which the kernel tells every user.

    So those of services are found too, whose folders no variable of the user's names.
    """
    try:
        with open(f"{proc_net.PROC}/net/unix", "rb") as file:
            table = file.read()
    except OSError:
        return
    yield from (os.fsdecode(name) for name in proc_net.listening(table))


def _place(text: str) -> Place | None:
    """Return what is known of a place by its name; None where it is none of ours."""
    abstract = _ABSTRACT.fullmatch(text)
    if abstract is not None:
        return Place(text, int(abstract[2]), int(abstract[1]))
    if not os.path.isabs(text):
        return None  # a path of another process's folder
    folder, _, name = text.rpartition("/")
    end = f"/{os.path.basename(folder)}/{name}"
    named = _IN_OWN_FOLDER.fullmatch(end) or _IN_SHARED_FOLDER.fullmatch(f"/{name}")
    if named is None:
        return None
    try:
        found = os.lstat(text)
    except OSError:
        return None
    if not stat.S_ISSOCK(found.st_mode):
        return None
    return Place(text, int(named[1]), found.st_uid, (found.st_dev, found.st_ino))


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except (OSError, OverflowError):
        return True  # another user's
    return True
