"""The certificates of a server: which is shown, when they are read again, and what is said of mistakes."""

import gc
import os
import ssl
import threading
import weakref
from collections.abc import Callable
from pathlib import Path

import pytest

from manyhands import events
from manyhands.connections.certificates import FILES_INTERVAL, Certificates, Pair, Settings
from tests.support import Authority, forked, host_names_shown, replace, shake_hands, shown
from tests.support.waiting import PATIENCE


class Clock:
    """A clock that the test turns."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now

    def tick(self) -> None:
        self.now += FILES_INTERVAL


def looked(certificates: Certificates, clock: Clock, times: int = 2) -> None:
    for _ in range(times):
        clock.tick()
        certificates.look()


@pytest.fixture
def several(tmp_path: Path, authority: Authority) -> Settings:
    """Three certificates, one with a wildcard."""
    names = {
        "first": ["first.example", "also.example"],
        "wild": ["*.wild.example", "xn--bcher-kva.example"],
        "own": ["own.wild.example", "also.example"],
    }
    return Settings(
        tuple(Pair(*authority.write(tmp_path, *its, stem=stem)) for stem, its in names.items())
    )


@pytest.mark.parametrize(
    ("name", "owner"),
    [
        ("first.example", "first.example"),
        ("also.example", "first.example"),
        ("mail.wild.example", "*.wild.example"),
        ("MAIL.Wild.Example", "*.wild.example"),
        ("bücher.example", "*.wild.example"),
        ("own.wild.example", "own.wild.example"),
        (None, "first.example"),
        ("127.0.0.1", "first.example"),
    ],
)
def test_the_certificate_of_the_name_called_is_shown(
    several: Settings, authority: Authority, name: str | None, owner: str
) -> None:
    context = authority.client_context()
    context.check_hostname = False
    _, client = shake_hands(Certificates(several).context, context, name)
    assert host_names_shown(client)[0] == owner


def test_a_name_that_no_certificate_has_is_shown_the_first(
    several: Settings, authority: Authority
) -> None:
    context = authority.client_context()
    context.check_hostname = False
    for name in ("example.net", "a.b.wild.example", "wild.example"):
        _, client = shake_hands(Certificates(several).context, context, name)
        assert host_names_shown(client)[0] == "first.example"


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_all_certificates_have_the_other_settings(
    several: Settings, authority: Authority, tmp_path: Path, version: ssl.TLSVersion
) -> None:
    settings = Settings(
        several.pairs, client_ca=authority.write_authority(tmp_path), alpn=("echo", "chat")
    )
    certificates = Certificates(settings)
    for name in ("first.example", "own.wild.example"):
        client = authority.known_client_context()
        client.set_alpn_protocols(["chat", "echo"])
        client.maximum_version = version
        there, _ = shake_hands(certificates.context, client, name)
        assert there.selected_alpn_protocol() == "echo"
        assert there.getpeercert()
        assert there.version() == version.name.replace("_", ".")
        with pytest.raises(ssl.SSLError, match="peer did not return a certificate"):
            shake_hands(certificates.context, authority.client_context(), name)


def test_a_stranger_s_certificate_is_refused(
    several: Settings, authority: Authority, tmp_path: Path
) -> None:
    stranger = Authority().known_client_context()
    stranger.check_hostname = False
    stranger.verify_mode = ssl.CERT_NONE
    for kind in ("optional", "required"):
        settings = Settings(several.pairs, authority.write_authority(tmp_path), kind)
        for name in ("first.example", "own.wild.example"):
            with pytest.raises(ssl.SSLError, match="certificate verify failed"):
                shake_hands(Certificates(settings).context, stranger, name)


@pytest.mark.filterwarnings("ignore:ssl.TLSVersion.TLSv1")
def test_an_older_version_of_tls_is_refused(several: Settings, authority: Authority) -> None:
    client = authority.client_context()
    client.set_ciphers("ALL:@SECLEVEL=0")
    client.minimum_version = ssl.TLSVersion.TLSv1
    client.maximum_version = ssl.TLSVersion.TLSv1_1
    with pytest.raises(ssl.SSLError, match="unsupported protocol"):
        shake_hands(Certificates(several).context, client, "first.example")


# Reloading


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def one(tmp_path: Path, authority: Authority) -> Settings:
    """One certificate, for old.example."""
    return Settings((Pair(*authority.write(tmp_path, "old.example")),))


@pytest.fixture
def with_authority(tmp_path: Path, authority: Authority, one: Settings) -> Settings:
    """The same, and clients may show a certificate."""
    return Settings(one.pairs, authority.write_authority(tmp_path), "optional")


def test_a_reload_on_call_shows_what_the_files_hold(
    one: Settings, authority: Authority, tmp_path: Path, seen: list[events.Event]
) -> None:
    certificates = Certificates(one)
    authority.write(tmp_path, "new.example")
    assert shown(certificates.context, authority, "old.example") == ["old.example"]
    assert certificates.reload()
    assert shown(certificates.context, authority, "new.example") == ["new.example"]
    assert seen == [events.CertificateReloaded(one.pairs[0].certfile)]


def test_names_are_reloaded_too(several: Settings, authority: Authority, tmp_path: Path) -> None:
    certificates = Certificates(several)
    authority.write(tmp_path, "moved.example", stem="own")
    assert certificates.reload()
    assert shown(certificates.context, authority, "moved.example") == ["moved.example"]
    assert shown(certificates.context, authority, "own.wild.example")[0] == "*.wild.example"


def test_a_change_of_the_files_is_seen_once_they_stand_still(
    one: Settings, authority: Authority, tmp_path: Path, clock: Clock, seen: list[events.Event]
) -> None:
    certificates = Certificates(one, clock)
    looked(certificates, clock)
    assert seen == []
    authority.write(tmp_path, "new.example")
    looked(certificates, clock, times=1)
    assert seen == []
    looked(certificates, clock, times=1)
    assert shown(certificates.context, authority, "new.example") == ["new.example"]
    looked(certificates, clock, times=5)
    assert seen == [events.CertificateReloaded(one.pairs[0].certfile)]


def test_files_are_looked_at_once_a_second(
    one: Settings, authority: Authority, tmp_path: Path, clock: Clock, seen: list[events.Event]
) -> None:
    certificates = Certificates(one, clock)
    authority.write(tmp_path, "new.example")
    for _ in range(9):
        clock.now += FILES_INTERVAL / 5
        certificates.look()
    assert seen == []


def test_a_key_that_is_replaced_after_the_certificate_gives_no_false_alarm(
    one: Settings, authority: Authority, tmp_path: Path, clock: Clock, seen: list[events.Event]
) -> None:
    certificates = Certificates(one, clock)
    (tmp_path / "elsewhere").mkdir()
    certfile, keyfile = authority.write(tmp_path / "elsewhere", "new.example")
    replace(tmp_path / "site.pem", Path(certfile).read_bytes())
    looked(certificates, clock, times=1)
    replace(tmp_path / "site.key", Path(keyfile).read_bytes())
    looked(certificates, clock)
    assert shown(certificates.context, authority, "new.example") == ["new.example"]
    assert seen == [events.CertificateReloaded(one.pairs[0].certfile)]


def test_half_of_a_pair_keeps_the_old_one_until_the_other_half_comes(
    one: Settings, authority: Authority, tmp_path: Path, clock: Clock, seen: list[events.Event]
) -> None:
    certificates = Certificates(one, clock)
    (tmp_path / "elsewhere").mkdir()
    certfile, keyfile = authority.write(tmp_path / "elsewhere", "new.example")
    replace(tmp_path / "site.pem", Path(certfile).read_bytes())
    looked(certificates, clock, times=5)
    (event,) = seen
    assert "is not that of certfile" in str(event)
    assert shown(certificates.context, authority, "old.example") == ["old.example"]
    replace(tmp_path / "site.key", Path(keyfile).read_bytes())
    looked(certificates, clock)
    assert shown(certificates.context, authority, "new.example") == ["new.example"]
    assert seen[1:] == [events.CertificateReloaded(one.pairs[0].certfile)]


SPOIL: dict[str, Callable[[Path], object]] = {
    "other": lambda path: path.write_bytes(b"not a certificate"),
    "cut": lambda path: path.write_bytes(path.read_bytes()[:200]),
    "empty": lambda path: path.write_bytes(b""),
    "gone": lambda path: path.unlink(),
}


@pytest.mark.parametrize(
    "spoil",
    [
        pytest.param((name, spoil), id=f"{name}-{how}")
        for name in ("site.pem", "site.key", "ca.pem")
        for how, spoil in SPOIL.items()
    ],
)
def test_a_broken_file_keeps_the_old_and_says_so_once(
    authority: Authority,
    clock: Clock,
    seen: list[events.Event],
    with_authority: Settings,
    spoil: tuple[str, Callable[[Path], object]],
) -> None:
    certificates = Certificates(with_authority, clock)
    path = Path(with_authority.files[0]).with_name(spoil[0])
    kept = path.read_bytes()
    spoil[1](path)
    looked(certificates, clock, times=5)
    (event,) = seen
    assert isinstance(event, events.CertificateNotReloaded)
    assert path.name in event.error
    assert shown(certificates.context, authority, "old.example") == ["old.example"]
    assert not certificates.reload()
    replace(path, kept)
    looked(certificates, clock)
    assert isinstance(seen[-1], events.CertificateReloaded)


def test_the_next_look_reloads_when_asked(
    one: Settings, authority: Authority, tmp_path: Path, clock: Clock, seen: list[events.Event]
) -> None:
    certificates = Certificates(one, clock)
    authority.write(tmp_path, "new.example")
    certificates.reload_soon()
    assert seen == []
    certificates.look()
    certificates.look()
    assert seen == [events.CertificateReloaded(one.pairs[0].certfile)]


def test_a_subscriber_may_reload(one: Settings, seen: list[events.Event]) -> None:
    certificates = Certificates(one)
    unsubscribe = events.hub.subscribe(lambda event: len(seen) < 3 and certificates.reload())
    certificates.reload()
    unsubscribe()
    assert len(seen) == 3


def test_a_forked_copy_can_reload(one: Settings) -> None:
    certificates = Certificates(one)
    with forked(certificates.reload) as wait:
        assert wait() == 0


def test_a_fork_waits_for_a_reload_that_is_under_way(one: Settings, authority: Authority) -> None:
    # OpenSSL's locks would stay held in the copy, and its first handshake wait for ever.
    certificates = Certificates(one)
    certfile = Path(one.pairs[0].certfile)
    pem = certfile.read_bytes()
    certfile.unlink()
    os.mkfifo(certfile)
    codes: list[int] = []

    def fork() -> None:
        with forked(lambda: True) as wait:
            codes.append(wait())

    reloading = threading.Thread(target=certificates.reload)
    forking = threading.Thread(target=fork)
    reloading.start()
    with certfile.open("wb"):  # opens once the reload reads
        forking.start()
        forking.join(0.2)
        assert codes == []
        certfile.unlink()
        certfile.write_bytes(pem)
    forking.join(PATIENCE)
    reloading.join(PATIENCE)
    assert codes == [0]
    assert certificates.reload()


def test_a_session_of_an_earlier_authority_resumes_nothing(
    authority: Authority, tmp_path: Path
) -> None:
    pair = Pair(*authority.write(tmp_path, "old.example"))
    certificates = Certificates(Settings((pair,), authority.write_authority(tmp_path)))
    client = authority.known_client_context()
    client.maximum_version = (
        ssl.TLSVersion.TLSv1_2
    )  # whose session is there when the handshake is done
    _, before = shake_hands(certificates.context, client, "old.example")
    assert resumes(certificates, client, before.session)
    Authority().write_authority(tmp_path)
    assert certificates.reload()
    with pytest.raises(ssl.SSLError, match="certificate verify failed"):
        resumes(certificates, client, before.session)


def resumes(
    certificates: Certificates, client_context: ssl.SSLContext, session: ssl.SSLSession
) -> bool:
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    server = certificates.context.wrap_bio(to_server, to_client, server_side=True)
    client = client_context.wrap_bio(
        to_client, to_server, server_hostname="old.example", session=session
    )
    for _ in range(2):
        for party in (client, server):
            try:
                party.do_handshake()
            except ssl.SSLWantReadError:
                continue
    return bool(server.session_reused)


def test_contexts_of_before_are_given_back(several: Settings) -> None:
    certificates = Certificates(several)
    before = weakref.ref(certificates.context)
    assert certificates.reload()
    gc.collect()
    assert before() is None
