"""The certificates that a server shows, chosen by the name called, and read again when their files change.

A connection has the context that was current when it was accepted. So nobody is dropped by a reload, and a
session ticket of an earlier context resumes nothing: what has been taken out of `client_ca` is out.
"""

import ssl
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from manyhands.rules import events
from manyhands.rules.forked_copies import renew_in_copies
from manyhands.rules.host_names import chosen
from manyhands.rules.mistakes import Mistake
from manyhands.rules.originals import brief_lock

from .tls_context import Pair, Settings, make, names_of

LOOK_EVERY = 1.0
"""Seconds between two looks at the files, at least."""

_Signature = tuple[int, int, int] | None
"""When a file was written, how long it is, and which it is; None of one that cannot be looked at."""


class Ready:
    """A context that the program has made: the program keeps it up to date."""

    can_reload = False

    def __init__(self, context: ssl.SSLContext) -> None:
        self.context = context

    def look(self) -> None:
        """Do nothing."""

    def reload(self) -> bool:
        """Do nothing, which always succeeds."""
        return True

    reload_soon = look


class Certificates:
    """The TLS contexts of a server, made of files.

    Parameters
    ----------
    settings : Settings
        The files, and what else there is to say.
    clock : callable
        Tells the time in seconds.

    Raises
    ------
    Mistake
        When a file cannot be read, or does not hold what it should.

    Notes
    -----
    `context` and `reload` may be used in any thread, `reload_soon` in signal handlers too; `look` is for
    the one thread that accepts.
    """

    can_reload = True

    def __init__(self, settings: Settings, clock: Callable[[], float] = time.monotonic) -> None:
        self._settings = settings
        self._clock = clock
        self.renew_lock()
        self._is_wanted = False
        # Before the files are read: what is written meanwhile is then a change.
        self._seen = self._tried = self._signatures()
        self._next_look = clock() + LOOK_EVERY
        self._context = _first_context(settings)
        renew_in_copies(self, Certificates.renew_lock)

    def renew_lock(self) -> None:
        """Take a fresh lock: in a forked copy, another thread of the original may hold this one for ever."""
        self._lock = brief_lock()

    @property
    def context(self) -> ssl.SSLContext:
        """What the next connection is made with."""
        return self._context

    def reload(self) -> bool:
        """Read the files again; the next connections are made with what is in them.

        Returns
        -------
        bool
            False when something is wrong with them: an event says what, and the old ones are kept.
        """
        event: events.Event
        with self._lock:
            self._tried = self._signatures()
            try:
                self._context = _first_context(self._settings)
            except Mistake as mistake:
                event = events.CertificateNotReloaded(str(mistake))
            else:
                event = events.CertificateReloaded(self._settings.pairs[0].certfile)
        events.hub.emit(event)
        return isinstance(event, events.CertificateReloaded)

    def reload_soon(self) -> None:
        """Have the next `look` reload."""
        self._is_wanted = True

    def look(self) -> None:
        """Reload when the files have changed, and have stood still since the look before.

        A certificate and its key are two files, and whoever replaces them is between the two for a while.
        """
        if self._is_wanted:
            self._is_wanted = False
            self.reload()
            return
        now = self._clock()
        if now < self._next_look:
            return
        self._next_look = now + LOOK_EVERY
        before, self._seen = self._seen, self._signatures()
        if self._seen == before and self._seen != self._tried:
            self.reload()

    def _signatures(self) -> tuple[_Signature, ...]:
        return tuple(_signature(name) for name in self._settings.files)


def _signature(file: str) -> _Signature:
    try:
        found = Path(file).stat()
    except OSError:
        return None
    return found.st_mtime_ns, found.st_size, found.st_ino


def _first_context(settings: Settings) -> ssl.SSLContext:
    """Make a context for each certificate; return the first, which hands over to the others by name."""
    # The names first: what is no certificate at all is then said to be none.
    names = [names_of(pair) for pair in settings.pairs]
    _refuse_nameless(settings.pairs, names)
    contexts = [make(pair, settings) for pair in settings.pairs]
    by_name: dict[str, ssl.SSLContext] = {}
    for context, its_names in zip(contexts, names, strict=True):
        for name in its_names:
            by_name.setdefault(name, context)
    if len(contexts) > 1:
        contexts[0].sni_callback = _choice(by_name)
    return contexts[0]


def _refuse_nameless(pairs: Sequence[Pair], names: Sequence[tuple[str, ...]]) -> None:
    for pair, its_names in tuple(zip(pairs, names, strict=True))[1:]:
        if not its_names:
            raise Mistake(
                f"certfile {pair.certfile!r} names no host (subjectAltName), so nobody would be shown it: "
                "only the first certificate may be without"
            )


def _choice(by_name: Mapping[str, ssl.SSLContext]) -> Callable[..., None]:
    """Make the callback that gives a connection the context of the name called (RFC 6066, section 3).

    A name that is not ASCII ends the handshake before it comes here, and `ssl` tells `sys.unraisablehook`.
    """

    def choose(connection: ssl.SSLSocket, server_name: str | None, _: ssl.SSLContext) -> None:
        context = chosen(by_name, server_name)
        if context is not None:
            connection.context = context

    return choose
