"""What is said of certificates, keys and authorities that cannot be used: one sentence each."""

import ssl
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization

from manyhands.connections.certificates import Certificates, Pair, Settings
from manyhands.model.usage_errors import Mistake
from tests.support import Authority, shown


@pytest.fixture
def files(tmp_path: Path, authority: Authority, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder, the current one, with two pairs, an authority, and files that are none of these."""
    monkeypatch.chdir(tmp_path)
    certfile, keyfile = map(Path, authority.write(tmp_path, "site.example"))
    authority.write(tmp_path, "other.example", stem="other")
    authority.write(tmp_path, "nobody@example.org", stem="nameless")
    authority.write_authority(tmp_path)
    (tmp_path / "both.pem").write_bytes(keyfile.read_bytes() + certfile.read_bytes())
    (tmp_path / "text").write_bytes(b"hello")
    (tmp_path / "empty").write_bytes(b"")
    der = ssl.PEM_cert_to_DER_cert(certfile.read_text().partition("-----END")[0] + FOOT)
    (tmp_path / "site.der").write_bytes(der)
    (tmp_path / "broken.pem").write_text(f"{HEAD}AAAA\n{FOOT}")
    (tmp_path / "no64.pem").write_text(f"{HEAD}A\n{FOOT}")
    key = serialization.load_pem_private_key(keyfile.read_bytes(), None)
    for name, form in (
        ("pkcs8.key", serialization.PrivateFormat.PKCS8),
        ("old.key", serialization.PrivateFormat.TraditionalOpenSSL),
    ):
        locked = serialization.BestAvailableEncryption(b"secret")
        (tmp_path / name).write_bytes(key.private_bytes(serialization.Encoding.PEM, form, locked))
    return tmp_path


HEAD = "-----BEGIN CERTIFICATE-----\n"
FOOT = "-----END CERTIFICATE-----\n"
NO_KEY = "holds no private key in PEM form (-----BEGIN PRIVATE KEY-----)"
NO_CERTIFICATE = "holds no certificate in PEM form (-----BEGIN CERTIFICATE-----)"


@pytest.mark.parametrize(
    ("certfile", "keyfile", "sentence"),
    [
        ("missing.pem", "site.key", "certfile 'missing.pem' cannot be read: No such file or dir"),
        ("site.pem", "missing.key", "keyfile 'missing.key' cannot be read: No such file or dir"),
        (".", "site.key", "certfile '.' cannot be read: Is a directory"),
        ("text", "site.key", f"certfile 'text' {NO_CERTIFICATE}"),
        ("empty", "site.key", f"certfile 'empty' {NO_CERTIFICATE}"),
        ("site.der", "site.key", f"certfile 'site.der' {NO_CERTIFICATE}"),
        ("site.key", "site.key", f"certfile 'site.key' {NO_CERTIFICATE}"),
        ("broken.pem", "site.key", "certfile 'broken.pem' holds a broken certificate: it "),
        ("no64.pem", "site.key", "certfile 'no64.pem' holds a broken certificate: "),
        ("site.pem", "text", f"keyfile 'text' {NO_KEY}"),
        ("site.pem", "empty", f"keyfile 'empty' {NO_KEY}"),
        ("site.pem", "site.pem", f"keyfile 'site.pem' {NO_KEY}"),
        ("site.pem", None, "certfile 'site.pem' holds no private key: name the file of the key wi"),
        ("site.pem", "other.key", "the key in keyfile 'other.key' is not that of certfile 'site.p"),
        ("site.pem", "pkcs8.key", "the key in keyfile 'pkcs8.key' is encrypted: write it without "),
        ("site.pem", "old.key", "the key in keyfile 'old.key' is encrypted: write it without a pa"),
    ],
)
def test_what_is_wrong_with_a_pair_is_said_in_a_sentence(
    files: Path, certfile: str, keyfile: str | None, sentence: str
) -> None:
    with pytest.raises(Mistake) as caught:
        Certificates(Settings((Pair(certfile, keyfile),)))
    assert str(caught.value).startswith(sentence)


def test_a_key_of_another_algorithm_is_not_that_of_the_certificate(
    files: Path, authority: Authority
) -> None:
    authority.write(files, "rsa.example", stem="rsa", is_rsa=True)
    with pytest.raises(Mistake, match=r"keyfile 'rsa.key' is not that of certfile 'site.pem'"):
        Certificates(Settings((Pair("site.pem", "rsa.key"),)))


def test_the_key_may_be_in_the_file_of_the_certificate(files: Path, authority: Authority) -> None:
    certificates = Certificates(Settings((Pair("both.pem"),)))
    assert shown(certificates.context, authority, "site.example") == ["site.example"]


@pytest.mark.parametrize(
    ("file", "sentence"),
    [
        ("missing.pem", "client_ca 'missing.pem' cannot be read: No such file or directory"),
        ("empty", f"client_ca 'empty' {NO_CERTIFICATE}"),
        ("site.key", f"client_ca 'site.key' {NO_CERTIFICATE}"),
        ("broken.pem", "client_ca 'broken.pem' holds a broken certificate: "),
    ],
)
def test_what_is_wrong_with_the_authorities_is_said_in_a_sentence(
    files: Path, file: str, sentence: str
) -> None:
    with pytest.raises(Mistake) as caught:
        Certificates(Settings((Pair("site.pem", "site.key"),), client_ca=file))
    assert str(caught.value).startswith(sentence)


def test_only_the_first_certificate_may_be_without_a_name(
    files: Path, authority: Authority
) -> None:
    nameless, named = Pair("nameless.pem", "nameless.key"), Pair("site.pem", "site.key")
    certificates = Certificates(Settings((nameless, named)))
    assert shown(certificates.context, authority, "site.example") == ["site.example"]
    with pytest.raises(Mistake, match=r"certfile 'nameless.pem' names no host"):
        Certificates(Settings((named, nameless)))
