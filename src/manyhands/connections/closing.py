"""Ways to end a connection, or a side of it, that never wait for the client; and the handler's `goodbye`."""

import _socket
import contextlib
import socket
import struct
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

from manyhands.connections.socket_classes import connection_behind, tls_due
from manyhands.connections.tls_handshake import AwaitingHandshake, is_tls
from manyhands.runtime.locks import acquire
from manyhands.runtime.sockets import system_socket
from manyhands.runtime.wakeup import PollableLatch

MOST_DISCARDED = 65_536
"""Bytes that the client has sent already and that are thrown away before a refusal's close."""


def half_close(request: Any) -> None:
    """Half-close a connection of any class: its handler reads an end of file. Thread-safe.

    Sending goes on, and on Linux bytes that have arrived before can still be read (SHUT_RD in shutdown(2)).
    On a request that is no connection, or closed, nothing happens.
    """
    # By the kernel's call alone, for the methods of TLS sockets do more: `SSLSocket.shutdown` takes TLS away,
    # and the handler's answer would go out in clear. To TLS the peer has ended without close_notify, which
    # `ssl` reads as an end of file; with `ssl.OP_IGNORE_UNEXPECTED_EOF` it can still write afterwards, and
    # end in good order. gevent's own `shutdown` fails the waits of fibers, which are to see an end of file.
    connection = system_socket(connection_behind(request))
    shutdown = (
        _socket.socket.shutdown
        if isinstance(connection, _socket.socket)
        else getattr(type(connection), "shutdown", None)
    )
    with contextlib.suppress(OSError, AttributeError):
        if shutdown is not None:
            shutdown(connection, _socket.SHUT_RD)


_LINGER_FOR_NO_TIME = struct.pack("ii", 1, 0)


def reset_at_close(request: Any) -> None:
    """Have the close of a connection be a reset (RST): it lingers, for no time (SO_LINGER in socket(7))."""
    with contextlib.suppress(OSError, AttributeError):
        request.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _LINGER_FOR_NO_TIME)


def send_close_notify(request: Any) -> None:
    """Send close_notify on a TLS connection whose handshake is done, if that can be done at once.

    On any other request, and on a connection that is closed or broken, nothing is sent and nothing raised.
    """
    # Without it a client cannot tell the end of what it was sent from an attacker's cut (RFC 8446, section
    # 6.1), and strict clients report it: "unexpected EOF while reading". `SSLSocket.shutdown` sends none.
    # `SSLSocket.unwrap` sends it, and then waits for the client's own, for ever where that does not come:
    # hence the timeout of 0.
    if not is_tls(request) or isinstance(request, AwaitingHandshake):
        return
    try:
        usual_timeout = request.gettimeout()
        request.settimeout(0.0)
        try:
            request.unwrap()
        finally:
            # The program may hold a duplicate of the descriptor (`dup`), which shares O_NONBLOCK.
            request.settimeout(usual_timeout)
    except (OSError, ValueError, AttributeError):
        # As a rule `SSLWantReadError`: ours is sent, and the client's has not come. Or another thread has
        # just closed the connection, or shut it down.
        return


def can_send_close_notify(request: Any) -> bool:
    """Tell whether close_notify can still be sent on a connection that was half-closed beneath TLS.

    To OpenSSL the client has ended without close_notify. It sends an alert for that error in place of ours,
    unless the context has `ssl.OP_IGNORE_UNEXPECTED_EOF`.
    """
    holder = request if is_tls(request) else tls_due(request)
    ignores = getattr(sys.modules.get("ssl"), "OP_IGNORE_UNEXPECTED_EOF", 0)
    return holder is not None and bool(holder.context.options & ignores)


def say_refusal(request: Any, text: bytes) -> None:
    """Send `text` on a connection that is about to be closed, if it can be sent at once.

    Nothing is sent on a TLS connection, whose handshake would have to come first, nor on a datagram's pair.
    """
    if not text or is_tls(request):
        return
    with contextlib.suppress(OSError, AttributeError, ValueError):
        # A second object for the same descriptor: a fiber's own socket would wait, and switch to other
        # fibers, in the middle of the accept loop.
        borrowed = _socket.socket(fileno=request.fileno())
        try:
            borrowed.send(text, socket.MSG_DONTWAIT | socket.MSG_NOSIGNAL)
            borrowed.shutdown(socket.SHUT_WR)
            # A close with unread bytes sends a reset (RFC 1122, 4.2.2.13), and a client that gets one throws
            # away text that it has not read yet.
            borrowed.recv(MOST_DISCARDED, socket.MSG_DONTWAIT)
        finally:
            borrowed.detach()


class GoodbyeHook:
    """The `goodbye` of one handler: called once, when its server drains, and only while `handle` runs.

    It runs in a second worker, wherever `handle` does: on threads a thread, on fibers a fiber, in a forked
    handler's process a thread of that process. `finish` comes after its return, so what it sends goes out
    before the connection closes.

    Parameters
    ----------
    handler
        An object with the method `goodbye`.
    """

    __slots__ = ("_handler", "_lock")

    def __init__(self, handler: Any) -> None:
        self._handler = handler
        # Held from when the hook falls due until it has returned, and for good once `handle` has ended: a
        # drain that comes later finds it taken. Released in another thread than the one that took it, so no
        # RLock.
        self._lock = threading.Lock()

    def falls_due(self) -> bool:
        """Have `end` wait until `call` or `withdraw`; return False when `handle` has ended before."""
        return self._lock.acquire(blocking=False)

    def call(self) -> None:
        """Call `goodbye`; `handle_error` reports what it raises, unless it is the connection's `OSError`."""
        handler = self._handler
        try:
            handler.goodbye()
        except OSError:
            return  # the client is gone
        except Exception:  # noqa: BLE001 - whatever a handler raises is handle_error's
            handler.server.handle_error(handler.request, handler.client_address)
        finally:
            self._lock.release()

    def withdraw(self) -> None:
        """Let `end` wait no longer: there was no worker to call the hook in."""
        self._lock.release()

    def end(self) -> None:
        """Note that `handle` has ended; wait for a `goodbye` that is due."""
        # Not `self._lock.acquire()`: on fibers that would block the thread, and with it the hook's own fiber.
        acquire(self._lock)


@contextmanager
def said_on_notice(goodbye: GoodbyeHook, notice: PollableLatch | None) -> Iterator[None]:
    """In a forked handler's process, have a thread call `goodbye` when the server gives notice of its drain.

    Where the system has no thread to give, the hook is not called. In every other process nothing happens:
    there the drain itself calls the hook.
    """
    if notice is None or not notice.is_inherited():
        yield
        return
    thread = threading.Thread(target=_call_on_notice, args=(goodbye, notice), daemon=True)
    # Without a thread it is not called: see above.
    with suppress(RuntimeError, MemoryError):
        thread.start()
    try:
        yield
    finally:
        # The drain also ends what the connection receives, so `handle` may return before the thread has
        # woken: the join lets `goodbye` have its turn. Without a notice the thread, a daemon, dies with the
        # process.
        if thread.ident is not None and notice.is_set():
            thread.join()


def _call_on_notice(goodbye: GoodbyeHook, notice: PollableLatch) -> None:
    notice.wait()
    if goodbye.falls_due():
        goodbye.call()
