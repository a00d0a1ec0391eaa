"""The host names that a certificate is for, read from its bytes, and which of several serves a name.

The standard library shows a certificate's names only where it has verified the certificate itself, so they
are read here: a walk down to one extension (RFC 5280, sections 4.1 and 4.2.1.6), in DER (X.690, sections
8.1 and 10.1).
"""

from collections.abc import Iterator, Mapping
from typing import TypeVar

Value = TypeVar("Value")

_SEQUENCE = 0x30
_OBJECT_IDENTIFIER = 0x06
_OCTET_STRING = 0x04
_EXTENSIONS = 0xA3
"""The field of a certificate that holds its extensions: ``[3] EXPLICIT``."""

_DNS_NAME = 0x82
"""The kind of a name that is a host's: ``[2] IA5String``."""

_SUBJECT_ALTERNATIVE_NAME = bytes.fromhex("551d11")
"""2.5.29.17, where the names are. The common name is not looked at (RFC 9525, section 2)."""

_LONGEST_LENGTH = 4
"""Bytes in which a length is written, at most: 4 GiB is more than any certificate has."""


class NotACertificateError(ValueError):
    """The bytes are no certificate in DER."""


def host_names(certificate: bytes) -> tuple[str, ...]:
    """Return the host names of a certificate in DER, in lower case, wildcards such as ``*.example.org`` too.

    Raises
    ------
    NotACertificateError
        When the bytes are none.
    """
    body = _first(certificate, _SEQUENCE)
    # What is before the extensions is stepped over: no other field has their tag.
    for tag, wrapped in _elements(_first(body, _SEQUENCE)):
        if tag == _EXTENSIONS:
            return _names_among(_first(wrapped, _SEQUENCE))
    return ()


def _names_among(extensions: bytes) -> tuple[str, ...]:
    for _, extension in _elements(extensions):
        # An identifier, perhaps whether it is critical, and the value.
        parts = dict(_elements(extension))
        if parts.get(_OBJECT_IDENTIFIER) == _SUBJECT_ALTERNATIVE_NAME:
            names = _elements(_first(parts.get(_OCTET_STRING, b""), _SEQUENCE))
            return tuple(_text(name) for tag, name in names if tag == _DNS_NAME)
    return ()


def _text(name: bytes) -> str:
    try:
        return name.decode("ascii").lower()
    except UnicodeDecodeError:
        raise NotACertificateError("a host name in it is not ASCII") from None


def _first(data: bytes, wanted: int) -> bytes:
    tag, content, _ = _element(data, 0)
    if tag != wanted:
        raise NotACertificateError(f"it has an element {tag:#04x} in the place of {wanted:#04x}")
    return content


def _elements(data: bytes) -> Iterator[tuple[int, bytes]]:
    at = 0
    while at < len(data):
        tag, content, at = _element(data, at)
        yield tag, content


def _element(data: bytes, at: int) -> tuple[int, bytes, int]:
    """Return the tag and the content of the element that begins at `at`, and where the next one begins."""
    if at + 2 > len(data):
        raise NotACertificateError("it ends too soon")
    tag, length = data[at : at + 2]
    start = at + 2
    # The long form: in how many bytes the length follows (X.690, 8.1.3.5). None of them would be the
    # indefinite form, which DER does not have (10.1).
    if length & 0x80:
        count = length & 0x7F
        if not 0 < count <= _LONGEST_LENGTH:
            raise NotACertificateError(f"a length in it has {count} bytes")
        length = int.from_bytes(data[start : start + count], "big")
        start += count
    end = start + length
    if end > len(data):
        raise NotACertificateError("it ends too soon")
    return tag, data[start:end], end


def chosen(by_name: Mapping[str, Value], server_name: str | None) -> Value | None:
    """Return what `by_name` has for the name that a client calls; None when there is nothing.

    A wildcard stands for exactly one label (RFC 9525, section 6.3), and the name itself comes first.
    """
    if server_name is None:
        return None
    name = server_name.lower().removesuffix(".")
    if name in by_name:
        return by_name[name]
    label, _, parent = name.partition(".")
    return by_name.get(f"*.{parent}") if label and parent else None
