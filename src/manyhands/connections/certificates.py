"""The TLS contexts of a server, made of certificate files and made again when these change.

A connection keeps the context that was current when it was accepted. So a reload ends no connection, and a
session ticket of an earlier context resumes nothing: an authority that was taken out of `client_ca` is out.
"""

import contextlib
import re
import ssl
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from manyhands.connections.certificate_expiry import ExpiryNotices
from manyhands.model import lazy_events as events
from manyhands.model.event_hub import event_hub
from manyhands.model.usage_errors import Mistake
from manyhands.protocol.certificate_names import NotACertificateError, chosen, host_names
from manyhands.protocol.certificate_validity import Validity, validity
from manyhands.runtime.error_reports import is_undecoded_name
from manyhands.runtime.fork_hooks import forking

_CERTIFICATE = re.compile(rb"-----BEGIN CERTIFICATE-----.+?-----END CERTIFICATE-----", re.DOTALL)

_PRIVATE_KEY = b"PRIVATE KEY-----"
"""The end of a key's first line in each of its PEM forms, encrypted ones too."""

_NO_PAIR = frozenset({"KEY_VALUES_MISMATCH", "KEY_TYPE_MISMATCH", "NO_CERTIFICATE_ASSIGNED"})
"""OpenSSL's reasons for a key of another certificate; it gives the last one where the algorithms differ."""

VERIFY_MODES = {
    "none": ssl.CERT_NONE,
    "optional": ssl.CERT_OPTIONAL,
    "required": ssl.CERT_REQUIRED,
}
"""The words of the option `client_certificates`."""


@dataclass(frozen=True, slots=True)
class Pair:
    """A certificate file, with the chain, and the file of its key; None: the key is in the same file."""

    certfile: str
    keyfile: str | None = None


@dataclass(frozen=True, slots=True)
class Settings:
    """The files and the protocols of a server's TLS.

    Attributes
    ----------
    pairs : tuple of Pair
        At least one; the first is for clients that ask for a name that no other certificate has.
    client_ca : str or None
        The file of the authorities that sign clients' certificates; None: clients are not asked for one.
    client_certificates : str
        ``"required"``, ``"optional"`` or ``"none"``; it means nothing without `client_ca`.
    alpn : tuple of str
        The application protocols that the server offers, the preferred one first (RFC 7301).
    """

    pairs: tuple[Pair, ...]
    client_ca: str | None = None
    client_certificates: str = "required"
    alpn: tuple[str, ...] = ()

    @property
    def files(self) -> tuple[str, ...]:
        """The paths of all files, in the order in which they are named."""
        named = [name for pair in self.pairs for name in (pair.certfile, pair.keyfile)]
        return tuple(name for name in (*named, self.client_ca) if name is not None)


def _read(pair: Pair) -> tuple[tuple[str, ...], Validity]:
    """Return the host names of a certificate, and from when until when it is valid with its chain.

    Raises
    ------
    Mistake
        When the file cannot be read, or holds no certificate.
    """
    found = _CERTIFICATE.findall(_contents("certfile", pair.certfile))
    if not found:
        raise Mistake(
            f"certfile {pair.certfile!r} holds no certificate in PEM form "
            "(-----BEGIN CERTIFICATE-----)"
        )
    try:
        own, *chain = [ssl.PEM_cert_to_DER_cert(each.decode()) for each in found]
        valid = validity(own)
        for each in chain:
            # OpenSSL takes a chain whose times are written in another way.
            with contextlib.suppress(NotACertificateError):
                # Clients refuse a certificate whose chain has ended, as they do one that has ended itself.
                valid = min(valid, validity(each), key=_end)
        return host_names(own), valid
    except (NotACertificateError, ValueError) as error:
        raise Mistake(f"certfile {pair.certfile!r} holds a broken certificate: {error}") from None


def _end(valid: Validity) -> float:
    return valid.not_after


def _make_context(pair: Pair, settings: Settings) -> ssl.SSLContext:
    """Make the context that shows one certificate. TLS 1.2 is the oldest version (RFC 8996).

    Raises
    ------
    Mistake
        When a file cannot be read, or does not hold what it should.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    # A renegotiation costs the server more than the client that asks for it, again and again (CVE-2011-1473).
    context.options |= ssl.OP_NO_RENEGOTIATION
    # A drain ends what a connection receives beneath TLS (`half_close`). Without this option OpenSSL takes
    # that for a fatal error, and the handler could send neither its last answer nor close_notify. Handlers
    # see no difference: `ssl` reads an end without close_notify as an end of file in any case.
    context.options |= getattr(ssl, "OP_IGNORE_UNEXPECTED_EOF", 0)
    _load_pair(context, pair)
    if settings.client_ca is not None:
        _load_client_ca(context, settings.client_ca)
        context.verify_mode = VERIFY_MODES[settings.client_certificates]
    if settings.alpn:
        context.set_alpn_protocols(list(settings.alpn))
    return context


class _EncryptedError(Exception):
    """The key is encrypted, and OpenSSL asked for its password."""


def _refuse_password() -> str:
    # Without a function of ours OpenSSL would ask at the terminal, and the start would hang there.
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
    """Return the sentence that says why a certificate and its key cannot be used."""
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


FILES_INTERVAL = 1.0
"""Seconds between two looks at the files, at least."""

_Signature = tuple[int, int, int] | None
"""A file's time of change, size and inode; None: the file cannot be looked at."""


class GivenContext:
    """A context that the program has made, and keeps up to date itself: nothing is reloaded here."""

    can_reload = False
    why_not_reloaded = None

    def __init__(self, context: ssl.SSLContext) -> None:
        self.context = context
        self.validities: Mapping[str, Validity] = {}
        if context.sni_callback is not None:
            _say_nothing_of_bad_names()

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
        The files and the protocols.
    clock : callable
        The time in seconds; it never goes back.
    wall_clock : callable
        The seconds since 1970, by which certificates expire.

    Raises
    ------
    Mistake
        When a file cannot be read, or does not hold what it should.

    Notes
    -----
    `context`, `validities` and `reload` may be used in any thread, `reload_soon` in signal handlers too,
    since it takes no lock; `look` is for the one thread that accepts.
    """

    can_reload = True

    def __init__(
        self,
        settings: Settings,
        clock: Callable[[], float] = time.monotonic,
        wall_clock: Callable[[], float] = time.time,
    ) -> None:
        self._settings = settings
        self._clock = clock
        self.why_not_reloaded: str | None = None
        """Why the files could not be used when they were read last, as a sentence."""

        self._is_reload_due = False
        # Taken before the files are read: a file that is written meanwhile then counts as changed.
        self._seen = self._tried = self._signatures()
        self._next_look = clock() + FILES_INTERVAL
        self._expiry = ExpiryNotices(wall_clock)
        with forking:
            self._context, self._validities = _default_context(settings)

    @property
    def context(self) -> ssl.SSLContext:
        """The context of the next connection."""
        return self._context

    @property
    def validities(self) -> Mapping[str, Validity]:
        """From when until when each certificate is valid that is shown now, by its file."""
        return self._validities

    def reload(self) -> bool:
        """Read the files again, for the connections that are accepted from now on.

        Returns
        -------
        bool
            False when a file cannot be used: an event says why, and the old context is kept.
        """
        certfile, why_not = self._settings.pairs[0].certfile, None
        with forking:
            self._tried = self._signatures()
            try:
                self._context, self._validities = _default_context(self._settings)
            except Mistake as mistake:
                why_not = str(mistake)
        self.why_not_reloaded = why_not
        if event_hub.has_subscribers:
            event_hub.emit(
                events.CertificateReloaded(certfile)
                if why_not is None
                else events.CertificateNotReloaded(why_not)
            )
        return why_not is None

    def reload_soon(self) -> None:
        """Have the next `look` reload."""
        self._is_reload_due = True

    def look(self) -> None:
        """Reload when the files have changed, and then not again since the look before.

        A certificate and its key are two files, and for a moment only one of them has been replaced. What is
        about to expire is told of, too.
        """
        if self._is_reload_due:
            self._is_reload_due = False
            self.reload()
            return
        now = self._clock()
        if now < self._next_look:
            return
        self._next_look = now + FILES_INTERVAL
        before, self._seen = self._seen, self._signatures()
        # `_tried`: files that could not be used are not read again, and reported again, each second.
        if self._seen == before and self._seen != self._tried:
            self.reload()
        self._expiry.tell_what_is_due(self._validities)

    def _signatures(self) -> tuple[_Signature, ...]:
        return tuple(_signature(name) for name in self._settings.files)


def _signature(file: str) -> _Signature:
    try:
        found = Path(file).stat()
    except OSError:
        return None
    return found.st_mtime_ns, found.st_size, found.st_ino


def _default_context(settings: Settings) -> tuple[ssl.SSLContext, Mapping[str, Validity]]:
    """Make a context for each certificate; return the first, which hands over to the others by name.

    Returns also from when until when each certificate is valid, by its file. With `forking`: OpenSSL holds
    locks meanwhile, on which a handshake in a copy that is made just then would wait for ever.
    """
    # The names first: a file that is no certificate at all gets an error that says so, and not OpenSSL's.
    read = [_read(pair) for pair in settings.pairs]
    names = [its_names for its_names, _ in read]
    _refuse_nameless(settings.pairs, names)
    contexts = [_make_context(pair, settings) for pair in settings.pairs]
    by_name: dict[str, ssl.SSLContext] = {}
    for context, its_names in zip(contexts, names, strict=True):
        for name in its_names:
            # Of two certificates for one name the one that is given first counts.
            by_name.setdefault(name, context)
    if len(contexts) > 1:
        contexts[0].sni_callback = _sni_callback(by_name)
        _say_nothing_of_bad_names()
    validities = {
        pair.certfile: valid for pair, (_, valid) in zip(settings.pairs, read, strict=True)
    }
    return contexts[0], validities


def _refuse_nameless(pairs: Sequence[Pair], names: Sequence[tuple[str, ...]]) -> None:
    for pair, its_names in tuple(zip(pairs, names, strict=True))[1:]:
        if not its_names:
            raise Mistake(
                f"certfile {pair.certfile!r} names no host (subjectAltName), so no client would be shown it: "
                "only the first certificate may be without"
            )


def _sni_callback(by_name: Mapping[str, ssl.SSLContext]) -> Callable[..., None]:
    """Make the callback that gives a connection the context of the name asked for (RFC 6066, section 3).

    A name that is not ASCII ends the handshake before the callback: see `_say_nothing_of_bad_names`.
    """

    def choose(connection: ssl.SSLSocket, server_name: str | None, _: ssl.SSLContext) -> None:
        context = chosen(by_name, server_name)
        if context is not None:
            connection.context = context

    return choose


def _say_nothing_of_bad_names() -> None:
    """Keep from `sys.unraisablehook` the names that clients send in a handshake, and that are none.

    `ssl` decodes the name before it calls the callback of a context. One that is not ASCII fails the
    handshake, of which an event tells, and `ssl` hands it to the hook too, as bytes (`_servername_callback`
    in `_ssl.c`). What a client sends belongs into no log.
    """
    usual = sys.unraisablehook
    if isinstance(usual, _NoNames):
        return
    sys.unraisablehook = _NoNames(usual)


class _NoNames:
    """An `unraisablehook` that passes on all but names which could not be decoded."""

    def __init__(self, usual: Callable[["sys.UnraisableHookArgs"], object]) -> None:
        self._usual = usual

    def __call__(self, arguments: "sys.UnraisableHookArgs") -> None:
        if not is_undecoded_name(arguments):
            self._usual(arguments)
