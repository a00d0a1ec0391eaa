"""One TLS context for servers, made of files; whatever is wrong with them is a sentence."""

import re
import ssl
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from manyhands.model import lazy_events as events
from manyhands.model.event_hub import hub
from manyhands.model.usage_errors import Mistake
from manyhands.protocol.certificate_names import NotACertificateError, chosen, host_names
from manyhands.runtime.fork_hooks import renew_in_copies
from manyhands.runtime.unpatched import brief_lock

_CERTIFICATE = re.compile(rb"-----BEGIN CERTIFICATE-----.+?-----END CERTIFICATE-----", re.DOTALL)

_PRIVATE_KEY = b"PRIVATE KEY-----"
"""Ends the first line of a key in each of its PEM forms, encrypted ones too."""

_NO_PAIR = frozenset({"KEY_VALUES_MISMATCH", "KEY_TYPE_MISMATCH", "NO_CERTIFICATE_ASSIGNED"})
"""What OpenSSL says of a key that belongs to another certificate; the last where their algorithms differ."""

VERIFY_MODES = {
    "none": ssl.CERT_NONE,
    "optional": ssl.CERT_OPTIONAL,
    "required": ssl.CERT_REQUIRED,
}
"""The words of the option `client_certificates`."""


@dataclass(frozen=True, slots=True)
class Pair:
    """A certificate, with the chain that leads to it, and its key; None: in the same file."""

    certfile: str
    keyfile: str | None = None


@dataclass(frozen=True, slots=True)
class Settings:
    """What a server's TLS is made of.

    Attributes
    ----------
    pairs : tuple of Pair
        At least one; the first serves whoever calls a name that no other is for.
    client_ca : str or None
        The file of the authorities that vouch for clients' certificates; None: clients are not asked for any.
    client_certificates : str
        ``"required"``, ``"optional"`` or ``"none"``; without `client_ca` it does not count.
    alpn : tuple of str
        The protocols that the server speaks on top, the one it likes best first (RFC 7301).
    """

    pairs: tuple[Pair, ...]
    client_ca: str | None = None
    client_certificates: str = "required"
    alpn: tuple[str, ...] = ()

    @property
    def files(self) -> tuple[str, ...]:
        """Every file that they name."""
        named = [name for pair in self.pairs for name in (pair.certfile, pair.keyfile)]
        return tuple(name for name in (*named, self.client_ca) if name is not None)


def names_of(pair: Pair) -> tuple[str, ...]:
    """Return the host names of a certificate.

    Raises
    ------
    Mistake
        When the file cannot be read, or holds no certificate.
    """
    found = _CERTIFICATE.search(_contents("certfile", pair.certfile))
    if found is None:
        raise Mistake(
            f"certfile {pair.certfile!r} holds no certificate in PEM form "
            "(-----BEGIN CERTIFICATE-----)"
        )
    try:
        return host_names(ssl.PEM_cert_to_DER_cert(found[0].decode()))
    except (NotACertificateError, ValueError) as error:
        raise Mistake(f"certfile {pair.certfile!r} holds a broken certificate: {error}") from None


def make(pair: Pair, settings: Settings) -> ssl.SSLContext:
    """Make the context that shows one certificate. TLS 1.2 is the oldest version (RFC 8996).

    Raises
    ------
    Mistake
        When a file cannot be read, or does not hold what it should.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    # A handshake that a client begins anew, again and again, costs the server more than the client.
    context.options |= ssl.OP_NO_RENEGOTIATION
    # Else a connection whose input a drain has ended could say nothing more, not even that it ends. Handlers
    # see no difference: to them an end without a goodbye is an end of file in any case.
    context.options |= getattr(ssl, "OP_IGNORE_UNEXPECTED_EOF", 0)
    _load_pair(context, pair)
    if settings.client_ca is not None:
        _load_client_ca(context, settings.client_ca)
        context.verify_mode = VERIFY_MODES[settings.client_certificates]
    if settings.alpn:
        context.set_alpn_protocols(list(settings.alpn))
    return context


class _EncryptedError(Exception):
    """A key asks for a password."""


def _refuse_password() -> str:
    # Without a function here OpenSSL would ask at the terminal.
    raise _EncryptedError


def _load_pair(context: ssl.SSLContext, pair: Pair) -> None:
    key = _described_key(pair)
    if pair.keyfile is not None and _PRIVATE_KEY not in _contents("keyfile", pair.keyfile):
        raise Mistake(f"{key} holds no private key in PEM form (-----BEGIN PRIVATE KEY-----)")
    if pair.keyfile is None and _PRIVATE_KEY not in _contents("certfile", pair.certfile):
        raise Mistake(f"{key} holds no private key: name the file of the key with keyfile")
    try:
        context.load_cert_chain(pair.certfile, pair.keyfile, password=_refuse_password)
    except _EncryptedError:
        raise Mistake(
            f"the key in {key} is encrypted: write it without a password (openssl pkey), or give Server "
            "an ssl_context that has loaded it"
        ) from None
    except OSError as error:
        raise Mistake(_why_no_pair(pair, error)) from None


def _why_no_pair(pair: Pair, error: OSError) -> str:
    """Say why a certificate and a key, both of which are there, cannot be used."""
    if isinstance(error, ssl.SSLError) and error.reason in _NO_PAIR:
        return f"the key in {_described_key(pair)} is not that of certfile {pair.certfile!r}"
    return (
        f"certfile {pair.certfile!r} cannot be used with the key in {_described_key(pair)}: {error}"
    )


def _described_key(pair: Pair) -> str:
    return f"certfile {pair.certfile!r}" if pair.keyfile is None else f"keyfile {pair.keyfile!r}"


def _load_client_ca(context: ssl.SSLContext, file: str) -> None:
    if not _CERTIFICATE.search(_contents("client_ca", file)):
        raise Mistake(
            f"client_ca {file!r} holds no certificate in PEM form (-----BEGIN CERTIFICATE-----)"
        )
    try:
        context.load_verify_locations(file)
    except OSError as error:
        raise Mistake(f"client_ca {file!r} holds a broken certificate: {error}") from None


def _contents(option: str, file: str) -> bytes:
    try:
        return Path(file).read_bytes()
    except OSError as error:
        raise Mistake(f"{option} {file!r} cannot be read: {error.strerror}") from None


# The certificates that a server shows, chosen by the name called, and read again when their files change.
#
# A connection has the context that was current when it was accepted. So nobody is dropped by a reload, and a
# session ticket of an earlier context resumes nothing: what has been taken out of `client_ca` is out.

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
        certfile, why_not = self._settings.pairs[0].certfile, ""
        with self._lock:
            self._tried = self._signatures()
            try:
                self._context = _first_context(self._settings)
            except Mistake as mistake:
                why_not = str(mistake)
        if hub.has_subscribers:
            hub.emit(
                events.CertificateNotReloaded(why_not)
                if why_not
                else events.CertificateReloaded(certfile)
            )
        return not why_not

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
