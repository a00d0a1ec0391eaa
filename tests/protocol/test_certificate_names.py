"""The host names of certificates, and which certificate a name is served with."""

import ipaddress
import ssl
from datetime import UTC, datetime, timedelta

import pytest
import trustme
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from hypothesis import given
from hypothesis import strategies as st

from manyhands.protocol.certificate_names import NotACertificateError, chosen, host_names


def certificate(*extensions: x509.ExtensionType) -> bytes:
    """Return a certificate in DER that has these extensions, all critical."""
    key, now = ec.generate_private_key(ec.SECP256R1()), datetime.now(UTC)
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "common.example")])
    builder = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now)
        .not_valid_after(now + timedelta(days=1))
    )
    for extension in extensions:
        builder = builder.add_extension(extension, critical=True)
    made = builder.sign(key, hashes.SHA256())
    return made.public_bytes(serialization.Encoding.DER)


def issued(*names: str) -> bytes:
    pem = trustme.CA().issue_cert(*names).cert_chain_pems[0].bytes()
    return ssl.PEM_cert_to_DER_cert(pem.decode())


def test_all_host_names_are_read_in_lower_case() -> None:
    names = ("www.example.org", "Mail.Example.ORG", "*.example.net", "xn--bcher-kva.example")
    assert host_names(issued(*names)) == tuple(name.lower() for name in names)


def test_addresses_and_mailboxes_are_no_host_names() -> None:
    alternatives = x509.SubjectAlternativeName(
        [
            x509.IPAddress(ipaddress.ip_address("127.0.0.1")),
            x509.RFC822Name("somebody@example.org"),
            x509.DNSName("www.example.org"),
        ]
    )
    basic = x509.BasicConstraints(ca=False, path_length=None)
    assert host_names(certificate(basic, alternatives)) == ("www.example.org",)


def test_the_common_name_is_no_host_name() -> None:
    assert host_names(certificate()) == ()
    assert host_names(certificate(x509.BasicConstraints(ca=False, path_length=None))) == ()


def test_many_names_are_read() -> None:
    names = [f"host-{number}.example.org" for number in range(2000)]
    alternatives = x509.SubjectAlternativeName([x509.DNSName(name) for name in names])
    assert host_names(certificate(alternatives)) == tuple(names)


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "it ends too soon"),
        (b"\x30", "it ends too soon"),
        (b"\x30\x05\x30\x00", "it ends too soon"),
        (b"\x30\x80\x30\x00\x00\x00", "a length in it has 0 bytes"),
        (b"\x30\x85\x00\x00\x00\x00\x00", "a length in it has 5 bytes"),
        (b"\x04\x00", "it has an element 0x04 in the place of 0x30"),
    ],
)
def test_what_is_no_certificate_is_said_to_be_none(data: bytes, reason: str) -> None:
    with pytest.raises(NotACertificateError, match=reason):
        host_names(data)


SOUND = issued("www.example.org", "*.example.net")


@given(st.binary(max_size=200))
def test_any_bytes_have_names_or_are_no_certificate(data: bytes) -> None:
    read_or_refused(data)


@given(st.integers(0, len(SOUND) - 1), st.integers(0, 255), st.integers(1, len(SOUND)))
def test_a_damaged_certificate_has_names_or_is_none(at: int, byte: int, end: int) -> None:
    read_or_refused((SOUND[:at] + bytes([byte]) + SOUND[at + 1 :])[:end])


def read_or_refused(data: bytes) -> None:
    try:
        names = host_names(data)
    except NotACertificateError:
        return
    assert all(isinstance(name, str) for name in names)


TABLE = {"example.org": 1, "*.example.org": 2, "www.example.org": 3, "*.www.example.org": 4}


@pytest.mark.parametrize(
    ("name", "found"),
    [
        ("example.org", 1),
        ("mail.example.org", 2),
        ("www.example.org", 3),
        ("WWW.Example.ORG", 3),
        ("www.example.org.", 3),
        ("a.www.example.org", 4),
        ("a.mail.example.org", None),
        (".example.org", None),
        ("example.net", None),
        ("org", None),
        ("", None),
        (".", None),
        (None, None),
    ],
)
def test_a_name_finds_itself_or_the_wildcard_of_its_parent(
    name: str | None, found: int | None
) -> None:
    assert chosen(TABLE, name) == found
