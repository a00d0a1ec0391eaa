"""One TLS context for servers, made of files; whatever is wrong with them is a sentence."""

import re
import ssl
from dataclasses import dataclass
from pathlib import Path

from manyhands.rules.host_names import NotACertificateError, host_names
from manyhands.rules.mistakes import Mistake

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
