"""The socket of a control client: connects to a server of this user, sends lines and receives them."""

import contextlib
import errno
import os
import socket
import time
from typing import NoReturn

from manyhands.control.places import socket_address
from manyhands.model.escaping import escape
from manyhands.runtime.sockets import peer_user

LONGEST_LINE = 16 * 1024 * 1024
"""Bytes of an answer or a notification; a longer line comes of no server of ours."""

_RETRY_INTERVAL = 0.02
"""Seconds between two tries to connect to a server whose backlog is full."""

_AT_ONCE = 65_536
"""Bytes of one receive."""


class ControlError(Exception):
    """Something went wrong at a control socket; the text is one sentence."""


class Unreachable(ControlError):  # noqa: N818 - what happened
    """There is no server, or none that can be spoken with.

    Attributes
    ----------
    is_gone : bool
        Whether the place is there, and no process listens at it any more.
    """

    def __init__(self, message: str, *, is_gone: bool = False) -> None:
        super().__init__(message)
        self.is_gone = is_gone


class Lost(ControlError):  # noqa: N818 - as above
    """The connection has ended, or the server did not answer in time: the client is closed."""


class ClientSocket:
    """A connection to the socket at `place`. For one thread at a time.

    Parameters
    ----------
    place : str
        A path, or ``@name``.
    deadline : float
        By which `time.monotonic` the server must have taken it.

    Raises
    ------
    Unreachable
        No server of this user listens there.
    """

    def __init__(self, place: str, deadline: float) -> None:
        try:
            self._socket = socket.socket(socket.AF_UNIX)
        except (
            OSError
        ) as error:  # EMFILE, ENFILE: no descriptor is left, which may be so for a moment
            raise _unreachable(error, place) from None
        self._received = bytearray()
        self._searched = 0
        self.server = f"the server at {escape(place)}"
        """The server, as sentences have it."""

        try:
            _connect(self._socket, place, deadline)
            self.user = peer_user(self._socket)
            """The user whose process listens there; None where the system does not tell."""

            _refuse_other_users(self.user, place)
        except BaseException:
            self._socket.close()
            raise

    def fileno(self) -> int:
        """Return the descriptor; -1 when it is closed."""
        return self._socket.fileno()

    def close(self) -> None:
        """Close the connection. Once more does no harm."""
        self._socket.close()

    def send(self, line: bytes, deadline: float) -> None:
        """Send a line.

        Raises
        ------
        Lost
            The server does not take it in time. (Where it has closed the connection the next receive tells
            why.)
        """
        try:
            self._socket.settimeout(max(_RETRY_INTERVAL, deadline - time.monotonic()))
            with contextlib.suppress(BrokenPipeError, ConnectionResetError):
                self._socket.sendall(line)
        except TimeoutError:
            self.fail("does not read")
        except OSError as error:
            self._fail_by(error)

    def line(self, deadline: float | None) -> bytes | None:
        """Return the next line, without its end; None when none is complete at `deadline`.

        Raises
        ------
        Lost
            The connection has ended, or the line is longer than `LONGEST_LINE`.
        """
        while (end := self._received.find(b"\n", self._searched)) < 0:
            self._searched = len(self._received)
            if self._searched > LONGEST_LINE:
                self.fail(f"sent a line longer than {LONGEST_LINE} bytes")
            if not self._receive_more(deadline):
                return None
        line = bytes(self._received[:end])
        del self._received[: end + 1]
        self._searched = 0
        return line

    def fail(self, what: str) -> NoReturn:
        """Close, and raise `Lost` with what the server did."""
        self.close()
        raise Lost(f"{self.server} {what}")

    def _receive_more(self, deadline: float | None) -> bool:
        """Receive what has come; False when nothing has until `deadline`."""
        try:
            self._socket.settimeout(
                None if deadline is None else max(0.0, deadline - time.monotonic())
            )
            received = self._socket.recv(_AT_ONCE)
        except (TimeoutError, BlockingIOError):
            return False
        except OSError as error:
            self._fail_by(error)
        if not received:
            self.fail("has closed the connection")
        self._received += received
        return True

    def _fail_by(self, error: OSError) -> NoReturn:
        if self.fileno() < 0:
            raise Lost(f"the connection to {self.server} is closed")
        if isinstance(error, ConnectionResetError):
            self.fail("has closed the connection")
        self.fail(f"cannot be spoken with any more: {error.strerror or error}")


def _connect(connection: socket.socket, place: str, deadline: float) -> None:
    address = socket_address(place)
    while True:
        left = deadline - time.monotonic()
        try:
            connection.settimeout(max(_RETRY_INTERVAL, left))
            connection.connect(address)
        except (BlockingIOError, TimeoutError):
            # The backlog is full (connect(2)), and for a socket with a timeout that is no wait.
            if left <= 0:
                raise Unreachable(
                    f"the server at {escape(place)} takes no more clients: is it stopped?"
                ) from None
            time.sleep(_RETRY_INTERVAL)
        except OSError as error:
            raise _unreachable(error, place) from None
        else:
            return


def _unreachable(error: OSError, place: str) -> Unreachable:
    at, is_path = escape(place), not place.startswith("@")
    if isinstance(error, ConnectionRefusedError) and is_path:
        return Unreachable(f"no server listens at {at}", is_gone=True)
    if isinstance(error, FileNotFoundError | NotADirectoryError | ConnectionRefusedError):
        return Unreachable(f"there is no control socket at {at}")
    if isinstance(error, PermissionError):
        return Unreachable(f"{at} is not for this user: it lets in its server's user, and root")
    if error.errno == errno.EPROTOTYPE:
        return Unreachable(f"{at} is a socket for datagrams, and no control socket")
    return Unreachable(f"cannot connect to {at}: {(error.strerror or str(error)).lower()}")


def _refuse_other_users(user: int | None, place: str) -> None:
    """Refuse the server of another user, who may have taken the name; root may speak with all."""
    own = os.geteuid()
    if user is not None and own != 0 and user not in {0, own}:
        raise Unreachable(
            f"what listens at {escape(place)} is a process of user {user}, and no server of yours"
        )
