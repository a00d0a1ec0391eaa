"""From when until when a certificate is valid, read from its bytes."""

import ssl
from datetime import UTC, datetime
from pathlib import Path

import pytest
from cryptography import x509

from manyhands.protocol.certificate_names import NotACertificateError
from manyhands.protocol.certificate_validity import validity
from tests.support import Authority


@pytest.mark.parametrize("days", [(-10.0, 20.0), (-20_000.0, -15_000.0), (-1.0, 40_000.0)])
def test_the_times_are_those_of_another_parser(
    authority: Authority, tmp_path: Path, days: tuple[float, float]
) -> None:
    # The last one ends after 2050, from when on times have another form (RFC 5280, 4.1.2.5).
    pem = Path(authority.write(tmp_path, "localhost", days=days)[0]).read_text(encoding="ascii")
    first = pem[: pem.index("-----END CERTIFICATE-----") + 26]
    other = x509.load_pem_x509_certificate(first.encode())
    assert validity(ssl.PEM_cert_to_DER_cert(first)) == (
        other.not_valid_before_utc.timestamp(),
        other.not_valid_after_utc.timestamp(),
    )


def test_every_cut_of_a_certificate_is_refused(authority: Authority, tmp_path: Path) -> None:
    pem = Path(authority.write(tmp_path, "localhost")[0]).read_text(encoding="ascii")
    der = ssl.PEM_cert_to_DER_cert(pem[: pem.index("-----END CERTIFICATE-----") + 26])
    for length in range(len(der)):
        with pytest.raises(NotACertificateError):
            validity(der[:length])


def test_a_time_that_is_none_is_refused(authority: Authority, tmp_path: Path) -> None:
    pem = Path(authority.write(tmp_path, "localhost", days=(-1, 1))[0]).read_text(encoding="ascii")
    der = ssl.PEM_cert_to_DER_cert(pem[: pem.index("-----END CERTIFICATE-----") + 26])
    year = datetime.now(UTC).strftime("%y").encode()
    at = der.index(b"\x17\x0d" + year)
    for broken in (der[:at] + b"\x16" + der[at + 1 :], der[: at + 2] + b"xx" + der[at + 4 :]):
        with pytest.raises(NotACertificateError):
            validity(broken)
