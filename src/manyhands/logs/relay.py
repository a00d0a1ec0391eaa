"""What a handler's process has to say is said by the process of its server: one log, one rate, one writer."""

import os
import pickle
import select
import socket
import time
import weakref
from collections.abc import Callable
from typing import Any

from manyhands.runtime.fork_hooks import parent_server
from manyhands.runtime.locks import Latch
from manyhands.runtime.sockets import is_ready
from manyhands.runtime.unpatched import original, start_native_thread

_SETTLE = b"."
"""Asks the receiving thread to say that all before it has come: a datagram that is no pickle."""

_END = b""

LONGEST = 128 * 1024
"""Bytes of the longest item: the usual buffer of a socket (net.core.wmem_default) holds that."""

PATIENCE = 0.1
"""Seconds that a sender waits for room: the receiving thread may only be waiting for its turn."""


class Relay:
    """Carries items from the processes that an engine forks to the process that forked them.

    By datagrams, which come whole however many processes send. A thread of the system's receives them.

    Not by the channels of `dealing`: an item is written at once, by a thread that precedes all handlers,
    and its sender waits for no answer. A channel costs its process a thread, and the parent one more.

    Parameters
    ----------
    deliver
        A bound method that takes each item, in the receiving thread; None in the place of one that came and
        cannot be had here. Its object is not kept alive.

    Raises
    ------
    OSError or RuntimeError
        When there is no descriptor, or no thread, for it.
    """

    def __init__(self, deliver: Callable[[Any], object]) -> None:
        self._process = os.getpid()
        self._deliver = weakref.WeakMethod(deliver)
        make = original(socket, "socketpair")
        self._receiver, self._sender = make(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._sender.setblocking(False)
        self._settled = Latch()
        try:
            start_native_thread(self._receive, name="manyhands-log-relay")
        except BaseException:
            self._give_back()
            raise

    @property
    def is_own(self) -> bool:
        """Whether this process made it, and receives."""
        return self._process == os.getpid()

    @property
    def leads_to_parent(self) -> bool:
        """Whether this process serves a connection for the one that receives."""
        return parent_server() == self._process

    def send(self, item: Any) -> bool:
        """Have an item delivered in the process that receives; return False when it cannot be."""
        try:
            data = pickle.dumps(item)
        except Exception:  # noqa: BLE001 - a value of the program's own, which could do anything
            return False
        return len(data) <= LONGEST and self._has_sent(data, time.monotonic() + PATIENCE)

    def settle(self, timeout: float) -> None:
        """Wait until all that was sent so far has been delivered, at most `timeout` seconds."""
        if not self.is_own:
            return
        deadline = time.monotonic() + timeout
        self._settled = Latch()
        if self._has_sent(_SETTLE, deadline):
            self._settled.wait(max(0.0, deadline - time.monotonic()))

    def close(self) -> None:
        """End the receiving thread; in a copy of the process, give back the copies of the descriptors."""
        if not self.is_own or not self._has_sent(_END, time.monotonic() + PATIENCE):
            self._give_back()

    def _has_sent(self, data: bytes, deadline: float) -> bool:
        while True:
            try:
                self._sender.send(data)
            except BlockingIOError:
                left = deadline - time.monotonic()
                if left <= 0 or not is_ready(self._sender.fileno(), select.POLLOUT, left):
                    return False
            except OSError:
                return False  # the receiving process has gone
            else:
                return True

    def _receive(self) -> None:
        # Made once: where no memory is left for another one, the log goes on.
        buffer = memoryview(bytearray(LONGEST))
        try:
            while length := self._receiver.recv_into(buffer):
                deliver = self._deliver()
                if buffer[:length] == _SETTLE:
                    self._settled.set()
                elif deliver is not None:
                    deliver(_loaded(buffer[:length]))
        finally:
            self._give_back()

    def _give_back(self) -> None:
        self._receiver.close()
        self._sender.close()


def _loaded(data: memoryview) -> Any:
    """Return the item that was sent; None where it cannot be made again, as some exceptions cannot."""
    try:
        return pickle.loads(data)  # noqa: S301 - of our own copies
    except Exception:  # noqa: BLE001 - a value of the program's own, which could do anything
        return None
