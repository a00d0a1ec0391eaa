"""The control sockets of this process: opened with its first server that wants one, closed with the last."""

import atexit
import errno
import itertools
import os
import socket
from collections.abc import Callable, Collection
from functools import partial
from typing import NamedTuple

from manyhands.config.option_types import AUTO
from manyhands.control import places
from manyhands.control.fleet import Fleet
from manyhands.control.fleet_asker import FleetAsker
from manyhands.control.fleet_process import FleetProcess
from manyhands.control.fleet_verbs import OF_A_SUPERVISOR
from manyhands.control.own_name import own_name
from manyhands.control.process import Controlled, ControlledProcess
from manyhands.control.process_verbs import OF_A_WORKER, VERBS
from manyhands.control.recent_traffic import RecentTraffic
from manyhands.control.server import ControlServer
from manyhands.control.system_use import start_of_process
from manyhands.control.verbs import Verbs
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
    """A server, the sockets on which it is asked about, and what asks its workers, if it has any."""

    server: Controlled
    sockets: Collection[_Socket]
    asker: FleetAsker | None = None


class ControlSockets:
    """The control sockets of this process. Thread-safe.

    Each is for those servers that have named it, and have not left yet. A forked copy of the process has none
    of them.
    """

    def __init__(self) -> None:
        self._begin_anew()
        renew_in_copies(self, ControlSockets._begin_anew)

    def _begin_anew(self) -> None:
        self._lock = brief_lock()
        self._began = 0.0
        self._last_number = 0
        self._connections = itertools.count(1)
        self._traffic = RecentTraffic()
        self._open: dict[_Socket, ControlServer] = {}
        self._closing: dict[_Socket, Latch] = {}
        self._users: dict[ServerControls, _User] = {}

    def enter(
        self,
        server: ServerControls,
        control: "str | os.PathLike[str] | None",
        control_read: "str | os.PathLike[str] | None",
        fleet: Fleet | None = None,
    ) -> Callable[[], None]:
        """Have a server asked about on control sockets, which are opened where need be.

        Parameters
        ----------
        server
            The server.
        control, control_read
            The places of the socket for everything, and of the one for reading alone; None for none. `AUTO`
            is no place for the latter.
        fleet
            The workers of the server, if this is the process of their supervisor. Then the metrics of the
            server are those of all of them, be there a control socket or not.

        Returns
        -------
        callable
            Ends that, and closes each socket with its last server. Once more does no harm.

        Raises
        ------
        Mistake
            When a place is none, or both are the same; or where another server of the process is asked about
            at a place, and one of the two has workers.
        OSError
            When a socket cannot be had at a place that was given. `AUTO` is no such place: an event tells.
        """
        wanted = [
            _Socket(_whole(os.fspath(place)), may_write)
            for place, may_write in ((control, True), (control_read, False))
            if place is not None
        ]
        if len({each.place for each in wanted}) < len(wanted):
            raise Mistake(f"control and control_read are both to be at {wanted[0].place}")
        self._note(server, wanted, fleet)
        try:
            for each in wanted:
                self._refuse_to_mix(each)
                self._have_open(each)
        except BaseException:
            self.leave(server)
            raise
        return lambda: self.leave(server)

    def enter_connected(
        self, server: ServerControls, connection: socket.socket
    ) -> Callable[[], None]:
        """Have a server asked about by the one client at the other end of a connection, as a worker is.

        Parameters
        ----------
        server
            The server, which is on no other control socket.
        connection
            The connection, a stream. It belongs to the control socket from now on.

        Returns
        -------
        callable
            Ends that, and closes the connection. Once more does no harm.

        Raises
        ------
        RuntimeError
            When the system has no thread left; then the connection is closed.
        OSError
            When it has no descriptor left; so then.
        """
        place = _Socket(f"connection {next(self._connections)}", may_write=True)
        self._note(server, [place])
        process = self._process_at(place, role="worker")
        try:
            made = ControlServer(
                None, process, may_write=True, verbs=OF_A_WORKER, connected=connection
            )
        except BaseException:
            connection.close()
            self.leave(server)
            raise
        with self._lock:
            self._open[place] = made
        # The server may have left meanwhile.
        self._close_unused()
        return lambda: self.leave(server)

    def _refuse_to_mix(self, place: _Socket) -> None:
        users = [user for user in self._users.copy().values() if place in user.sockets]
        if len(users) > 1 and any(user.asker is not None for user in users):
            what = "a server with workers has a control socket of its own"
            raise Mistake(f"{what}: at {place.place} there is another server's")

    def _note(
        self, server: ServerControls, wanted: Collection[_Socket], fleet: Fleet | None = None
    ) -> None:
        # Here, in a thread of the program's: the thread of a control socket, which asks for a drain, is none.
        server.start_thread = program_threads()
        for gone in [each for each in self._users.copy() if not each.is_there]:
            self.leave(gone)
        if wanted:
            server.core.registry.remember_ends()
        asker = None if fleet is None else _asking(fleet)
        server.core.figures_elsewhere = None if asker is None else asker.figures
        with self._lock:
            # Once: by it and by the process's number a client knows one process from another.
            self._began = self._began or start_of_process()
            self._last_number += 1
            controlled = Controlled(self._last_number, server, self._traffic)
            self._users[server] = _User(controlled, wanted, asker)

    def _process_at(self, place: _Socket, role: str = "server") -> ControlledProcess:
        servers = partial(self._users_of, place)
        name = str(own_name)
        for user in self._users.copy().values():
            if place in user.sockets and user.asker is not None:
                return FleetProcess(name, self._began, self._traffic, servers, user.asker)
        return ControlledProcess(name, self._began, self._traffic, servers, role)

    def leave(self, server: ServerControls) -> None:
        """Have a server asked about no more."""
        with self._lock:
            left = self._users.pop(server, None)
        if left is not None:
            left.server.close()
        self._close_unused()
        if left is not None and left.asker is not None:
            server.core.figures_elsewhere = None
            left.asker.close()

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

    def _users_of(self, wanted: _Socket) -> list[Controlled]:
        # A copy, made in one step: the thread that answers has no lock.
        return [user.server for user in self._users.copy().values() if wanted in user.sockets]

    def _have_open(self, wanted: _Socket) -> None:
        closing = self._closing.get(wanted)
        if closing is not None:
            closing.wait(CLOSED_WITHIN)
        if wanted in self._open:
            return
        # To bind may take a while, so the lock is not held for it: another thread may have been faster.
        try:
            made = self._opened(wanted)
        except OSError:
            if wanted in self._open:
                return
            raise
        if made is None:
            return
        with self._lock:
            first = self._open.setdefault(wanted, made)
        if first is not made:
            made.close()
        # The server may have left meanwhile.
        self._close_unused()

    def _opened(self, wanted: _Socket) -> ControlServer | None:
        process = self._process_at(wanted)
        if wanted.place != AUTO:
            return _open_at(places.given(wanted.place), process, wanted.may_write)
        places.remove_dead_ones()
        why = "this system has no place for it"
        for place in places.defaults():
            try:
                return _open_at(place, process, wanted.may_write)
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
        return ControlServer(address, process, may_write=may_write, verbs=_verbs_for(process))
    except RuntimeError:
        why = f"cannot listen on {place}: the system has no thread left"
        raise explained(BlockingIOError(errno.EAGAIN, os.strerror(errno.EAGAIN)), why) from None


def _asking(fleet: Fleet) -> FleetAsker:
    try:
        return FleetAsker(fleet)
    except RuntimeError:
        why = "cannot ask the workers: the system has no thread left"
        raise explained(BlockingIOError(errno.EAGAIN, os.strerror(errno.EAGAIN)), why) from None


def _verbs_for(process: ControlledProcess) -> Verbs:
    return OF_A_SUPERVISOR if isinstance(process, FleetProcess) else VERBS


control_sockets = ControlSockets()
"""Those of this process."""

atexit.register(control_sockets.close)
