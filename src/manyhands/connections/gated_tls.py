"""TLS connections that have an outbox: what others send is encrypted while the handler waits in a read.

OpenSSL is for one thread at a time (https://docs.openssl.org/master/man7/openssl-threads), and a read on a
descriptor that blocks stays inside of it until the peer says something. So from the first piece on the
descriptor does not block, the handler waits outside, and each call of OpenSSL is made under a lock.
"""

import select
import ssl
from collections.abc import Callable
from typing import Any, Protocol

from manyhands.connections.gated import Gated
from manyhands.connections.outbox_terms import Send
from manyhands.runtime.patient_tls import READ, PatientTLS
from manyhands.runtime.sockets import class_with, mix_into
from manyhands.runtime.unpatched import brief_lock


class LockedTLS:
    """The TLS object within an `SSLSocket`, each of whose calls is made under a lock. None of them waits."""

    __slots__ = ("_lock", "_tls")

    def __init__(self, tls: Any) -> None:
        self._tls = tls
        self._lock = brief_lock()

    def renew(self) -> None:
        """Take a free lock."""
        self._lock = brief_lock()

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._tls, name)
        return self._locked(found) if callable(found) else found

    def __setattr__(self, name: str, value: Any) -> None:
        if name in LockedTLS.__slots__:
            object.__setattr__(self, name, value)
        else:
            setattr(self._tls, name, value)

    def _locked(self, call: Callable[..., Any]) -> Callable[..., Any]:
        def locked(*arguments: Any) -> Any:
            with self._lock:
                return call(*arguments)

        return locked

    def read(self, *arguments: Any) -> Any:
        """Read what there is."""
        with self._lock:
            return self._tls.read(*arguments)

    def write(self, data: Any) -> Any:
        """Write some of `data`."""
        with self._lock:
            return self._tls.write(data)


class GatedTLS(Gated):
    """The gate of a TLS connection."""

    __slots__ = ()

    would_block = (ssl.SSLWantWriteError, ssl.SSLWantReadError)
    keeps_attempts = True

    def write(self, data: Any) -> int:
        """Write all of `data` in one turn, or some of it where the connection does not wait."""
        if self.openssl is None:  # type: ignore[attr-defined]  # the class that this is mixed into
            written: int = super().write(data)  # type: ignore[misc]  # which refuses it
            return written
        return self.send(data)

    def begin_anew(self) -> None:
        """Have a free lock."""
        openssl = self.openssl  # type: ignore[attr-defined]
        if isinstance(openssl, LockedTLS):
            openssl.renew()


class ThreadTLS(PatientTLS):
    """Turns a TLS connection of a thread into one that waits outside of OpenSSL: mixed into its class."""

    def wait_for(self, event: int, seconds: float | None) -> None:
        """Wait as the program's threads wait.

        Raises
        ------
        TimeoutError
            After `seconds`.
        """
        descriptor: int = self.fileno()  # type: ignore[attr-defined]  # the class that this is mixed into
        if hasattr(select, "poll"):
            poll = select.poll()
            poll.register(descriptor, event)
            is_ready = bool(poll.poll(None if seconds is None else seconds * 1000))
        else:  # eventlet takes it away
            to_read, to_write = ([descriptor], []) if event == READ else ([], [descriptor])
            is_ready = any(select.select(to_read, to_write, [], seconds))
        if not is_ready:
            raise TimeoutError("The read operation timed out")


class OpenGate(Protocol):
    """What shuts the gate of a TLS connection once no call is under way that does not know of it."""

    def shut(self) -> None:
        """Shut it, if the caller may and nothing is under way."""

    def begin_call(self) -> bool:
        """Note a call that the gate has to wait for; return False when it is shut, and takes the call."""

    def end_call(self) -> None:
        """Note the end of a call."""


class AwaitingGate:
    """Mixed into the class of a TLS connection until its handler makes its next call: then the gate is shut.

    The handler may be inside of OpenSSL meanwhile, so another thread cannot do it. What that calls goes on as
    if there were no gate, and the gate waits for its end.
    """

    def read(self, *arguments: Any) -> Any:
        """Shut the gate, and read."""
        return _called(self, "read", *arguments)

    def send(self, *arguments: Any) -> Any:
        """Shut the gate, and send."""
        return _called(self, "send", *arguments)

    def sendall(self, *arguments: Any) -> Any:
        """Shut the gate, and send all."""
        return _called(self, "sendall", *arguments)

    def write(self, *arguments: Any) -> Any:
        """Shut the gate, and write."""
        return _called(self, "write", *arguments)

    def unwrap(self) -> Any:
        """Shut the gate, and end TLS."""
        return _called(self, "unwrap")

    def shut_gate(self) -> None:
        """Shut the gate now: the handler makes no call any more."""
        gate = _gate_of(self)
        if gate is not None:
            gate.shut()


_GATE = "_open_gate"
"""The attribute of a connection that waits for its gate."""


def await_gate(connection: Any, gate: OpenGate) -> None:
    """Have the gate of a TLS connection shut when its handler next calls one of its methods.

    Once more does no harm. For the holder of the lock under which gates are shut.
    """
    if not isinstance(connection, AwaitingGate):
        vars(connection)[_GATE] = gate
        mix_into(connection, AwaitingGate)


def _gate_of(connection: Any) -> OpenGate | None:
    gate: OpenGate | None = vars(connection).get(_GATE)
    return gate


def _called(connection: Any, name: str, *arguments: Any) -> Any:
    gate = _gate_of(connection)
    if gate is None or not gate.begin_call():
        # It is shut by now, and the connection of another class.
        return getattr(connection, name)(*arguments)
    try:
        return getattr(super(AwaitingGate, connection), name)(*arguments)
    finally:
        gate.end_call()


def gate_tls(connection: Any) -> None:
    """Have a TLS connection be for several threads, whose writes queue. While no call on it is under way."""
    kind: Any = type(connection)
    if issubclass(kind, AwaitingGate):
        kind = kind.__bases__[1]
    waits_outside, seconds = issubclass(kind, PatientTLS), connection.gettimeout()
    if not waits_outside:
        kind = class_with(ThreadTLS, kind)
    # In one step: another thread that writes just now comes before it, or queues.
    connection.__class__ = class_with(GatedTLS, kind)
    vars(connection).pop(_GATE, None)
    if not waits_outside:
        connection.settimeout(seconds)
    if connection.openssl is not None:
        connection.openssl = LockedTLS(connection.openssl)


def tls_sender(connection: Any) -> Send:
    """Return what sends on a TLS connection at once, as `outbox.Send`."""

    def send(data: bytes | memoryview, flags: int) -> int:  # noqa: ARG001 - TLS has none
        tls = connection.openssl
        if tls is None:
            raise ConnectionAbortedError("TLS has ended")
        sent = 0
        with memoryview(data) as view:
            # One record at a time: 16 KiB (RFC 8446, section 5.1).
            while sent < len(view):
                try:
                    sent += tls.write(view[sent:])
                except (ssl.SSLWantWriteError, ssl.SSLWantReadError):
                    if not sent:
                        raise BlockingIOError from None
                    break
        return sent

    return send
