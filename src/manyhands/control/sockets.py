"""The control sockets of this process: opened with its first server that wants one, closed with the last."""

import atexit
import errno
import os
import sys
from collections.abc import Callable, Collection
from functools import partial
from typing import NamedTuple

from manyhands.config.option_types import AUTO
from manyhands.control import places
from manyhands.control.process import Controlled, ControlledProcess
from manyhands.control.recent_traffic import RecentTraffic
from manyhands.control.server import ControlServer
from manyhands.control.system_use import start_of_process
from manyhands.listening.bind import explained, sentence_of
from manyhands.model import lazy_events as events
from manyhands.model.addresses import Address
from manyhands.model.event_hub import event_hub
from manyhands.model.usage_errors import Mistake
from manyhands.runtime.fork_hooks import renew_in_copies
from manyhands.runtime.locks import Latch
from manyhands.runtime.program_threads import program_threads
from manyhands.runtime.unpatched import brief_lock
from manyhands.serving.controls import ServerControls

SOCKET_MODE = 0o600
"""The permissions of a socket's file: the owner alone, besides root, may connect (unix(7))."""


CLOSED_WITHIN = 2.0
"""Seconds to wait for a socket that is being closed, which itself waits for one second at the most."""


class _Socket(NamedTuple):
    """What a socket is: where, and whether its clients may change anything."""

    place: str
    may_write: bool


class _User(NamedTuple):
    """A server, and the sockets on which it is asked about."""

    server: Controlled
    sockets: Collection[_Socket]


class ControlSockets:
    """The control sockets of this process. Thread-safe.

    Each is for those servers that have named it, and have not left yet. A forked copy of the process has none
    of them.
    """

    def __init__(self) -> None:
        self.name = ""
        """How this process was started, in a few words, for clients; empty: as its command line says."""

        self._begin_anew()
        renew_in_copies(self, ControlSockets._begin_anew)

    def _begin_anew(self) -> None:
        self._lock = brief_lock()
        self._began = 0.0
        self._last_number = 0
        self._traffic = RecentTraffic()
        self._open: dict[_Socket, ControlServer] = {}
        self._closing: dict[_Socket, Latch] = {}
        self._users: dict[ServerControls, _User] = {}

    def enter(
        self,
        server: ServerControls,
        control: "str | os.PathLike[str] | None",
        control_read: "str | os.PathLike[str] | None",
    ) -> Callable[[], None]:
        """Have a server asked about on control sockets, which are opened where need be.

        Parameters
        ----------
        server
            The server.
        control, control_read
            The places of the socket for everything, and of the one for reading alone; None for none. `AUTO`
            is no place for the latter.

        Returns
        -------
        callable
            Ends that, and closes each socket with its last server. Once more does no harm.

        Raises
        ------
        Mistake
            When a place is none, or both are the same.
        OSError
            When a socket cannot be had at a place that was given. `AUTO` is no such place: an event tells.
        """
        wanted = [
            _Socket(_whole(os.fspath(place)), may_write)
            for place, may_write in ((control, True), (control_read, False))
            if place is not None
        ]
        if len({socket.place for socket in wanted}) < len(wanted):
            raise Mistake(f"control and control_read are both to be at {wanted[0].place}")
        # Here, in a thread of the program's: the thread of a control socket, which asks for a drain, is none.
        server.start_thread = program_threads()
        for gone in [each for each in self._users.copy() if not each.is_there]:
            self.leave(gone)
        if wanted:
            server.core.registry.remember_ends()
        with self._lock:
            # Once: by it and by the process's number a client knows one process from another.
            self._began = self._began or start_of_process()
            self._last_number += 1
            controlled = Controlled(self._last_number, server, self._traffic)
            self._users[server] = _User(controlled, wanted)
        try:
            for socket in wanted:
                self._have_open(socket)
        except BaseException:
            self.leave(server)
            raise
        return lambda: self.leave(server)

    def leave(self, server: ServerControls) -> None:
        """Have a server asked about no more."""
        with self._lock:
            left = self._users.pop(server, None)
        if left is not None:
            left.server.close()
        self._close_unused()

    def close(self) -> None:
        """Close all of them, at the end of the process: what it leaves open, its files would outlast."""
        for server in self._users.copy():
            self.leave(server)

    def _close_unused(self) -> None:
        is_closed = Latch()
        with self._lock:
            unused = [each for each in self._open if not self._users_of(each)]
            closing = [self._open.pop(each) for each in unused]
            # Until then the place is not free for the next server.
            self._closing.update(dict.fromkeys(unused, is_closed))
        try:
            for server in closing:
                server.close()
        finally:
            with self._lock:
                for each in unused:
                    self._closing.pop(each, None)
            is_closed.set()

    def _users_of(self, socket: _Socket) -> list[Controlled]:
        # A copy, made in one step: the thread that answers has no lock.
        return [user.server for user in self._users.copy().values() if socket in user.sockets]

    def _have_open(self, socket: _Socket) -> None:
        closing = self._closing.get(socket)
        if closing is not None:
            closing.wait(CLOSED_WITHIN)
        if socket in self._open:
            return
        # To bind may take a while, so the lock is not held for it: another thread may have been faster.
        try:
            made = self._opened(socket)
        except OSError:
            if socket in self._open:
                return
            raise
        if made is None:
            return
        with self._lock:
            first = self._open.setdefault(socket, made)
        if first is not made:
            made.close()
        # The server may have left meanwhile.
        self._close_unused()

    def _opened(self, socket: _Socket) -> ControlServer | None:
        servers = partial(self._users_of, socket)
        name = self.name or _name_of_process()
        process = ControlledProcess(name, self._began, self._traffic, servers)
        if socket.place != AUTO:
            return _open_at(places.given(socket.place), process, socket.may_write)
        places.remove_dead_ones()
        why = "this system has no place for it"
        for place in places.defaults():
            try:
                return _open_at(place, process, socket.may_write)
            except OSError as error:
                why = sentence_of(error)
        if event_hub.has_subscribers:
            event_hub.emit(events.NoControlSocket(why))
        return None


def _whole(place: str) -> str:
    """Return a place as two servers of this process have it alike, whichever way each was told."""
    given = place if place == AUTO else places.given(place)
    if given == AUTO or given.startswith("@"):
        return given
    path = os.path.abspath(given)
    # A relative path may be shorter than the system's bound, and the whole one not.
    return path if len(os.fsencode(path)) <= places.LONGEST else given


def _open_at(place: str, process: ControlledProcess, may_write: bool) -> ControlServer:
    mode = None if place.startswith("@") else SOCKET_MODE
    address = Address("unix", path=place, mode=mode)
    try:
        return ControlServer(address, process, may_write=may_write)
    except RuntimeError:
        why = f"cannot listen on {place}: the system has no thread left"
        raise explained(BlockingIOError(errno.EAGAIN, os.strerror(errno.EAGAIN)), why) from None


def program() -> list[str]:
    """Return the program of this process as its command line names it: its file, or ``-m`` and its module."""
    spec = getattr(sys.modules.get("__main__"), "__spec__", None)
    # A file has none, and of a folder or a zip file it is that of the `__main__` within.
    if spec is None or spec.name == "__main__":
        return [os.path.basename(sys.argv[0]) if sys.argv and sys.argv[0] else "python"]
    return ["-m", spec.name.removesuffix(".__main__")]


def _name_of_process() -> str:
    """Return how this process was started, in a few words."""
    words = program()
    if words[0] == "-m":
        words = ["manyhands"] if words[1] == "manyhands" else ["python", *words]
    return " ".join([*words, *sys.argv[1:3]])[:100]


control_sockets = ControlSockets()
"""Those of this process."""

atexit.register(control_sockets.close)
