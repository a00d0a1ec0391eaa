"""The control sockets of this process: opened with its first server that wants one, closed with the last."""

import os
import sys
from collections.abc import Callable
from typing import NamedTuple

from manyhands.control import places
from manyhands.control.process import ControlledProcess
from manyhands.control.server import ControlServer
from manyhands.listening.bind import sentence_of
from manyhands.model import lazy_events as events
from manyhands.model.addresses import Address
from manyhands.model.event_hub import event_hub
from manyhands.runtime.fork_hooks import renew_in_copies
from manyhands.runtime.program_threads import program_threads
from manyhands.runtime.unpatched import brief_lock
from manyhands.serving.controls import ServerControls

AUTO = "auto"
"""The place that is chosen by itself: see `places.defaults`."""

SOCKET_MODE = 0o600
"""The permissions of a socket's file: the owner alone, besides root, may connect (unix(7))."""


class _Socket(NamedTuple):
    """What a socket is: where, and whether its clients may change anything."""

    place: str
    may_write: bool


class ControlSockets:
    """The control sockets of this process. Thread-safe.

    All are for the same servers: those that were entered and have not left yet. A forked copy of the process
    has none of them.
    """

    def __init__(self) -> None:
        self.name = ""
        """How this process was started, in a few words, for clients; empty: as its command line says."""

        self._begin_anew()
        renew_in_copies(self, ControlSockets._begin_anew)

    def _begin_anew(self) -> None:
        self._lock = brief_lock()
        self._process: ControlledProcess | None = None
        self._open: dict[_Socket, ControlServer] = {}
        self._users: dict[ServerControls, list[_Socket]] = {}

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
            The places of the socket for everything, and of the one for reading alone; `AUTO`, or None for
            none.

        Returns
        -------
        callable
            Ends that, and closes each socket with its last server. Once more does no harm.

        Raises
        ------
        Mistake
            When a place is none.
        OSError
            When a socket cannot be had at a place that was given. `AUTO` is no such place: an event tells.
        """
        wanted = [
            _Socket(os.fspath(place), may_write)
            for place, may_write in ((control, True), (control_read, False))
            if place is not None
        ]
        # Here, in a thread of the program's: what asks for a drain is none.
        server.start_thread = program_threads()
        for gone in [each for each in self._users.copy() if not each.is_there]:
            self.leave(gone)
        with self._lock:
            name = self.name or _name_of_process()
            process = self._process = self._process or ControlledProcess(name)
            self._users[server] = wanted
            process.add(server)
        try:
            for socket in wanted:
                self._have_open(socket, process)
        except BaseException:
            self.leave(server)
            raise
        return lambda: self.leave(server)

    def leave(self, server: ServerControls) -> None:
        """Have a server asked about no more."""
        with self._lock:
            if self._users.pop(server, None) is None or self._process is None:
                return
            left = self._process.remove(server)
            wanted = {socket for sockets in self._users.values() for socket in sockets}
            unused = [self._open.pop(socket) for socket in self._open.keys() - wanted]
        for controlled in left:
            controlled.close()
        for each in unused:
            each.close()

    def places(self) -> list[str]:
        """Return where the sockets are that are open."""
        return [str(server.addresses[0]).removeprefix("unix://") for server in self._open.values()]

    def _have_open(self, socket: _Socket, process: ControlledProcess) -> None:
        if socket in self._open:
            return
        # To bind may take a while, so the lock is not held for it: another thread may have been faster.
        try:
            made = _opened(socket, process)
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


def _opened(socket: _Socket, process: ControlledProcess) -> ControlServer | None:
    if socket.place != AUTO:
        return _open_at(places.given(socket.place), socket, process)
    places.remove_dead_ones()
    failure: Exception = RuntimeError("this system has no place for it")
    for place in places.defaults():
        try:
            return _open_at(place, socket, process)
        except (OSError, RuntimeError) as error:
            failure = error
    if event_hub.has_subscribers:
        why = sentence_of(failure) if isinstance(failure, OSError) else str(failure)
        event_hub.emit(events.NoControlSocket(why))
    return None


def _open_at(place: str, socket: _Socket, process: ControlledProcess) -> ControlServer:
    mode = None if place.startswith("@") else SOCKET_MODE
    address = Address("unix", path=place, mode=mode)
    return ControlServer(address, process, may_write=socket.may_write)


def _name_of_process() -> str:
    """Return how this process was started, in a few words."""
    program = os.path.basename(sys.argv[0]) if sys.argv and sys.argv[0] else "python"
    return " ".join([program, *sys.argv[1:3]])[:100]


control_sockets = ControlSockets()
"""Those of this process."""
