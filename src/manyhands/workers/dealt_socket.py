"""A listening socket as a worker has it: its clients are dealt by the supervisor, which has accepted them."""

import array
import errno
import os
import socket
from collections import deque
from typing import Any, NamedTuple, Protocol

from manyhands.runtime.unpatched import original
from manyhands.workers.records import MOST_DEALT, RESUMED, read_dealt
from manyhands.workers.shared_page import Slot

_ROOM = socket.CMSG_SPACE(2 * array.array("i").itemsize)

_AT_ONCE = socket.MSG_DONTWAIT | socket.MSG_CMSG_CLOEXEC


class Accepted(NamedTuple):
    """A connection that was taken from the deal channel, but for its descriptor.

    Attributes
    ----------
    place, marks : int
        As of `records`.
    kept : int
        The descriptor of what is kept of a connection that is resumed; -1 of a new one.
    """

    place: int
    marks: int
    kept: int = -1

    def close(self) -> None:
        """Give back what comes with it."""
        if self.kept >= 0:
            os.close(self.kept)


class Returns(Protocol):
    """What takes back connections that a worker cannot begin."""

    def give_back(self, place: int) -> None:
        """Have the supervisor deal a connection again."""

    def tell_of_room(self) -> None:
        """Have the supervisor know that something was taken."""


# The system's, whatever gevent has put in its place: what is accepted is of the program's class all the same.
_Socket: type[socket.socket] = original(socket, "socket")


class DealtSocket(_Socket):  # type: ignore[misc, valid-type]  # known when it is loaded
    """Stands where the listening socket would be. What it accepts was accepted by the supervisor.

    To programs it is of the listener's family, type and name; its descriptor is that of the deal channel, and
    is polled as a listener's. So accept loops, hooks and a program's own `get_request` go on as they are.

    Parameters
    ----------
    channel : int
        The descriptor of the deal channel, which the socket takes over.
    family : int
        The address family of the listener.
    name : object
        Its address, as `getsockname` has it.
    listener : int
        Its position among the listeners.
    slot : Slot
        Where the worker says what it has begun.
    returns : Returns
        What takes back what cannot be begun.
    """

    def __init__(  # noqa: PLR0913, PLR0917 - all that the supervisor tells of it
        self, channel: int, family: int, name: Any, listener: int, slot: Slot, returns: Returns
    ) -> None:
        # Family and type are those of the listener: what is accepted is made of them.
        super().__init__(family, socket.SOCK_STREAM, 0, channel)
        # Whatever `socket.setdefaulttimeout` says: the channel is read when something is there.
        super().setblocking(False)
        self._timeout: float | None = None
        self._name = name
        self._listener = listener
        self._slot = slot
        self._returns = returns
        self.accepted: deque[Accepted] = deque()
        """Those accepted that admission control has not seen yet."""

    def _accept(self) -> tuple[int, Any]:
        """Take what was dealt: what `accept` of any sort calls."""
        message, ancillary, flags, _ = self.recvmsg(MOST_DEALT, _ROOM, _AT_ONCE)
        if not message:
            # The supervisor deals no more: to the accept loop the listener is closed.
            self.close()
            raise BlockingIOError(errno.EAGAIN, os.strerror(errno.EAGAIN))
        place, marks, address = read_dealt(message)
        descriptors = array.array("i")
        for _, _, data in ancillary:
            descriptors.frombytes(data[: len(data) - len(data) % descriptors.itemsize])
        if not descriptors or flags & socket.MSG_CTRUNC:
            for each in descriptors:
                os.close(each)
            # There was no free descriptor (unix(7)); the supervisor has its own still, and lets nothing go
            # that counts as begun before it has heard of all that were returned.
            self._slot.note_returned()
            self._returns.give_back(place)
            self._take_note()
            raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))
        self.accepted.append(Accepted(place, marks, *descriptors[1:]))
        self._take_note()
        return descriptors[0], address

    def _take_note(self) -> None:
        self._slot.note_begun(self._listener)
        if self._slot.is_awaited:
            self._returns.tell_of_room()

    @property
    def has_resumed(self) -> bool:
        """Whether what was accepted last is a connection that another worker has served before."""
        return bool(self.accepted and self.accepted[-1].marks & RESUMED)

    def getsockname(self) -> Any:
        """Return the address of the listener."""
        return self._name

    def gettimeout(self) -> float | None:
        """Return the timeout, as `handle_request` waits by it: what was dealt is taken at once."""
        return self._timeout

    def settimeout(self, value: float | None) -> None:
        """Set it."""
        self._timeout = value

    def setblocking(self, flag: bool) -> None:
        """Set it to none, or to 0."""
        self.settimeout(None if flag else 0.0)

    def end(self) -> None:
        """Be dealt nothing more; what was dealt is there still, and then `accept` finds an end."""
        # Before it is closed: a thread that polls it would not notice that.
        super().shutdown(socket.SHUT_RD)

    def has_ended(self) -> bool:
        """Tell whether nothing more will be dealt, and all that was is taken."""
        try:
            return not self.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT)
        except BlockingIOError:
            return False
        except OSError:
            return True  # it is closed

    def listen(self, backlog: int = 0) -> None:
        """Do nothing: the supervisor listens."""

    def shutdown(self, how: int) -> None:
        """Do nothing: the supervisor listens on."""
