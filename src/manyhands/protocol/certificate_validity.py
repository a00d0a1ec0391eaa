"""From when until when a certificate is valid, read from its bytes (RFC 5280, section 4.1.2.5).

The standard library tells that of certificates that it has verified, and not of those that a server shows.
"""

from datetime import UTC, datetime
from typing import NamedTuple

from manyhands.protocol.certificate_names import (
    _SEQUENCE,
    NotACertificateError,
    _elements,
    _first,
)

_UTC_TIME = 0x17
"""``YYMMDDHHMMSSZ``; years from 50 on are of the last century."""

_GENERALIZED_TIME = 0x18
"""``YYYYMMDDHHMMSSZ``."""

_VALIDITY = 2
"""The sequences of a certificate's body that stand before its validity: the algorithm, and the issuer."""


class Validity(NamedTuple):
    """From when until when a certificate is valid, in seconds since 1970."""

    not_before: float
    not_after: float


def validity(certificate: bytes) -> Validity:
    """Return from when until when a certificate in DER is valid.

    Raises
    ------
    NotACertificateError
        When the bytes are none.
    """
    body = _first(_first(certificate, _SEQUENCE), _SEQUENCE)
    sequences = [content for tag, content in _elements(body) if tag == _SEQUENCE]
    if len(sequences) <= _VALIDITY:
        raise NotACertificateError("it ends too soon")
    times = [_time(tag, content) for tag, content in _elements(sequences[_VALIDITY])]
    if len(times) != len(Validity._fields):
        raise NotACertificateError("it is valid from one time to another, and has others")
    return Validity(*times)


def _time(tag: int, content: bytes) -> float:
    try:
        text = content.decode("ascii")
        if tag == _UTC_TIME:
            text = f"{'19' if int(text[:2]) >= 50 else '20'}{text}"
        elif tag != _GENERALIZED_TIME:
            text = ""
        return datetime.strptime(text, "%Y%m%d%H%M%SZ").replace(tzinfo=UTC).timestamp()
    except ValueError:
        raise NotACertificateError("a time in it is none") from None
