"""One program after the other in a supervisor's process: what an upgrade leaves, and what finds it."""

import os
import platform
import socket
import sys
from typing import Any, NamedTuple, Never

from manyhands._version import __version__
from manyhands.dropin.tcp import adopt_bound
from manyhands.listening.endpoints import Endpoint
from manyhands.listening.inherited_sockets import left_to_next_program
from manyhands.model import lazy_events as events
from manyhands.model.event_hub import event_hub
from manyhands.supervisor import upgrade_state
from manyhands.workers import early_signals
from manyhands.workers.role import UPGRADE, take_state
from manyhands.workers.share import endpoint_of, plain_endpoint


def _name_of_folder() -> str | None:
    """Return the name by which this process was started in its folder; None where it is not known."""
    named = os.environ.get("PWD")
    try:
        return named if named and os.path.samefile(named, ".") else None  # noqa: PTH121 - as below
    except OSError:
        return None


_FOLDER = _name_of_folder()
"""A release may be a symbolic link, which leads to the next one by its name alone."""


class LeftListener(NamedTuple):
    """A listener that the program before has left.

    Attributes
    ----------
    key : list
        By what it was asked for: family, type, address.
    descriptor : int
        Its socket; -1 of one that a handler has closed.
    lanes : list of int
        Further sockets for datagrams.
    is_new : bool
        Whether it was bound for this program, and has none of its options.
    """

    key: list[Any]
    descriptor: int
    lanes: list[int]
    is_new: bool = False


class Estate:
    """What the program before has left in this process; empty in a process that was started.

    Parameters
    ----------
    state
        What it has written down.
    """

    def __init__(self, state: dict[str, Any]) -> None:
        self.state = state
        self._listeners: list[LeftListener | None] = [
            LeftListener(*each) for each in state["sockets"]
        ]
        self.moved: dict[int, int] = {}
        """The positions of the listeners that go on, by those that they had."""

    @property
    def endpoints(self) -> list[Endpoint]:
        """What its listeners were asked for, in their order."""
        return [endpoint_of(*each.key) for each in self._listeners if each is not None]

    def take(self, position: int, endpoint: Endpoint) -> LeftListener | None:
        """Return, once, the listener for an endpoint; None where there was none."""
        key = plain_endpoint(endpoint)
        for index, each in enumerate(self._listeners):
            if each is not None and each.key == key:
                self.moved[index] = position
                self._listeners[index] = None
                return each
        return None

    def close_rest(self) -> None:
        """Close what is asked for no more."""
        for each in self._listeners:
            if each is not None:
                for descriptor in (each.descriptor, *each.lanes):
                    if descriptor >= 0:
                        os.close(descriptor)
        self._listeners.clear()


def estate_of_process() -> Estate | None:
    """Return what the program before has left in this process, once; None where there was none.

    Raises
    ------
    ValueError
        When it cannot be read.
    """
    descriptor = take_state()
    if descriptor is None:
        return None
    state = upgrade_state.read(descriptor)
    # The next exec, of the programs that this one starts, is not to hand them on.
    upgrade_state.set_inheritable(state["descriptors"], value=False)
    return Estate(state)


class Adopted:
    """Has a listener take a socket over that is bound: a mix-in before its class."""

    left: LeftListener
    endpoint: Endpoint
    socket: socket.socket

    def server_bind(self) -> None:
        """Take the socket over."""
        self.socket.close()
        taken = socket.socket(self.socket.family, self.socket.type, 0, self.left.descriptor)
        taken.set_inheritable(False)
        is_given = self.endpoint.descriptor >= 0
        adopt_bound(self, taken, is_given=is_given)  # type: ignore[arg-type]  # the class that this stands before


class LeftClosed:
    """Has a listener be closed, as the program before has left it: a mix-in before its class."""

    endpoint: Endpoint
    socket: socket.socket
    server_address: Any

    def server_bind(self) -> None:
        """Listen nowhere."""
        self.socket.close()
        self.server_address = self.endpoint.address

    def server_activate(self) -> None:
        """Do nothing."""


def become_new_program(state: dict[str, Any]) -> Never:
    """Run the command of this process anew, in this process, with what a state says; it has ``descriptors``.

    Raises
    ------
    OSError
        When that cannot be done: then all is as before.
    """
    given, variables = left_to_next_program()
    file, descriptors = upgrade_state.write(state), [*state["descriptors"], *given]
    before = early_signals.block()
    folder = os.getcwd()  # noqa: PTH109 - as everywhere here
    try:
        upgrade_state.set_inheritable(descriptors, value=True)
        os.environ.update(variables)
        os.environ[UPGRADE] = upgrade_state.variable(file)
        if _FOLDER is not None and os.path.isdir(_FOLDER):  # noqa: PTH112 - as above
            os.chdir(_FOLDER)
        os.execv(sys.executable, [sys.executable, *sys.orig_argv[1:]])  # noqa: S606 - this very command
    finally:
        # Come to only where there was no exec.
        os.chdir(folder)
        for name in (UPGRADE, *variables):
            os.environ.pop(name, None)
        os.close(file)
        upgrade_state.set_inheritable(descriptors, value=False)
        early_signals.unblock(before)


def tell_of_upgrade(count: int) -> None:
    """Tell that this program has taken over."""
    if event_hub.has_subscribers:
        event_hub.emit(events.Upgraded(__version__, platform.python_version(), count))
