"""`manyhands.Server` on tls:// addresses: certificates by name, client certificates, reloads under way."""

import contextlib
import os
import signal
import socket
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from manyhands import Server, StreamRequestHandler, events
from manyhands.model.usage_errors import Mistake
from tests.support import (
    ENGINES,
    Authority,
    Echo,
    Program,
    ask,
    ask_secretly,
    bound,
    call,
    host_names_shown,
    is_closed_by_server,
    open_descriptors,
    wait_for_descriptors,
    wait_until,
    write_handlers,
)

ANY_PORT = "tls://127.0.0.1:0"
VERSIONS = [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3]

pytestmark = pytest.mark.filterwarnings("ignore:.*fork")


class Tell(StreamRequestHandler):
    """Tells its client what the handshake has told of it, line by line, until it says no more."""

    def handle(self) -> None:
        assert isinstance(self.request, ssl.SSLSocket)
        assert self.rfile.raw._sock is self.request
        shown = dict(entry for (entry,) in (self.request.getpeercert() or {}).get("subject", ()))
        facts = (
            self.request.version(),
            self.request.selected_alpn_protocol(),
            shown.get("organizationName"),
        )
        for _ in self.rfile:
            self.wfile.write(repr(facts).encode() + b"\n")


@pytest.fixture
def files(tmp_path: Path, authority: Authority) -> dict[str, Any]:
    """The options of a server whose certificate is for localhost."""
    certfile, keyfile = authority.write(tmp_path, "localhost", "old.example")
    return {"certfile": certfile, "keyfile": keyfile}


@contextmanager
def line(
    server: Server, context: ssl.SSLContext, name: str = "localhost"
) -> Iterator[ssl.SSLSocket]:
    """Call a server and shake hands."""
    with call(bound(server)) as plain, context.wrap_socket(plain, server_hostname=name) as peer:
        yield peer
        # A forked handler has a copy of this end too: closing ours would not end the connection.
        with contextlib.suppress(OSError):
            peer.shutdown(socket.SHUT_RDWR)


def told(server: Server, context: ssl.SSLContext) -> Any:
    with line(server, context) as peer:
        peer.sendall(b"?\n")
        answer = peer.recv(1000)
    return eval(answer) if answer else None


def shown(server: Server, authority: Authority, name: str) -> list[str]:
    with line(server, authority.client_context(), name) as peer:
        return host_names_shown(peer)


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("engine", ENGINES)
def test_a_client_is_served(
    engine: str, version: ssl.TLSVersion, authority: Authority, files: dict[str, Any]
) -> None:
    before = open_descriptors()
    client = authority.client_context()
    client.maximum_version = version
    with Server(Tell, ANY_PORT, engine=engine, **files) as server:
        assert str(server.addresses[0]).startswith("tls://127.0.0.1:")
        assert told(server, client) == (version.name.replace("_", "."), None, None)
    wait_for_descriptors(before)


@pytest.mark.parametrize("engine", ENGINES)
def test_a_client_needs_a_certificate_where_it_is_required(
    engine: str, tmp_path: Path, authority: Authority, files: dict[str, Any]
) -> None:
    ca = authority.write_authority(tmp_path)
    with Server(Tell, ANY_PORT, engine=engine, client_ca=ca, **files) as server:
        assert told(server, authority.known_client_context())[2].startswith("trustme")
        for stranger in (authority.client_context(), trusting(authority, Authority())):
            with pytest.raises(OSError, match=r"alert|reset|EOF|Broken pipe"):
                assert told(server, stranger) is None
        assert told(server, authority.known_client_context())


def trusting(authority: Authority, other: Authority) -> ssl.SSLContext:
    """Return the context of a client with a certificate of another authority's."""
    context = other.known_client_context()
    context.load_verify_locations(cadata=authority.pem)
    return context


@pytest.mark.parametrize("engine", ENGINES)
def test_a_client_may_be_without_a_certificate_where_it_is_optional(
    engine: str, tmp_path: Path, authority: Authority, files: dict[str, Any]
) -> None:
    asking = {"client_ca": authority.write_authority(tmp_path), "client_certificates": "optional"}
    with Server(Tell, ANY_PORT, engine=engine, **asking, **files) as server:
        assert told(server, authority.known_client_context())[2].startswith("trustme")
        assert told(server, authority.client_context())[2] is None
        with pytest.raises(OSError, match=r"alert|reset|EOF|Broken pipe"):
            assert told(server, trusting(authority, Authority())) is None


@pytest.mark.parametrize("engine", ENGINES)
def test_the_name_called_chooses_the_certificate(
    engine: str, tmp_path: Path, authority: Authority, files: dict[str, Any]
) -> None:
    certfile, keyfile = authority.write(tmp_path, "*.wild.example", stem="wild")
    pairs = {
        "certfile": [files["certfile"], Path(certfile)],
        "keyfile": [files["keyfile"], keyfile],
    }
    with Server(Tell, ANY_PORT, engine=engine, alpn=["echo"], **pairs) as server:
        assert shown(server, authority, "localhost") == ["localhost", "old.example"]
        assert shown(server, authority, "a.wild.example") == ["*.wild.example"]
        client = authority.client_context()
        client.set_alpn_protocols(["chat", "echo"])
        with line(server, client, "b.wild.example") as peer:
            assert peer.selected_alpn_protocol() == "echo"
            peer.sendall(b"?\n")
            assert b"'echo'" in peer.recv(1000)


def test_without_a_protocol_in_common_there_is_none(
    authority: Authority, files: dict[str, Any]
) -> None:
    client = authority.client_context()
    client.set_alpn_protocols(["chat"])
    with Server(Tell, ANY_PORT, alpn="echo", **files) as server:
        assert told(server, client)[1] is None


def test_tls_and_plain_addresses_go_together(authority: Authority, files: dict[str, Any]) -> None:
    with Server(Echo, ANY_PORT, "tcp://127.0.0.1:0", **files) as server:
        assert ask_secretly(bound(server, 0), authority) == b"hello\n"
        assert ask(bound(server, 1)) == b"hello\n"


def test_a_context_of_the_program_s_own_is_used(authority: Authority) -> None:
    with Server(Echo, ANY_PORT, ssl_context=authority.server_context()) as server:
        assert ask_secretly(bound(server), authority) == b"hello\n"
        assert server.reload()


def test_a_silent_client_stops_no_other_and_has_a_deadline(
    authority: Authority, files: dict[str, Any], seen: list[events.Event]
) -> None:
    with Server(Echo, ANY_PORT, handshake_timeout=0.5, **files) as server:
        with call(bound(server)) as silent:
            assert ask_secretly(bound(server), authority) == b"hello\n"
            assert is_closed_by_server(silent)
        wait_until(lambda: any(isinstance(event, events.HandshakeFailed) for event in seen))


# Reloads


@pytest.mark.parametrize("engine", ENGINES)
def test_a_reload_on_call_is_for_new_connections_and_ends_no_connection(
    engine: str, tmp_path: Path, authority: Authority, files: dict[str, Any]
) -> None:
    with Server(Echo, ANY_PORT, engine=engine, **files) as server:
        if engine == "sequential":
            assert shown(server, authority, "old.example")
            reload_and_look(server, tmp_path, authority)
            return
        with line(server, authority.client_context()) as peer:
            peer.sendall(b"before\n")
            assert peer.recv(100) == b"before\n"
            reload_and_look(server, tmp_path, authority)
            peer.sendall(b"after\n")
            assert peer.recv(100) == b"after\n"


def reload_and_look(server: Server, tmp_path: Path, authority: Authority) -> None:
    authority.write(tmp_path, "localhost", "new.example")
    assert server.reload()
    assert shown(server, authority, "new.example") == ["localhost", "new.example"]


@pytest.fixture
def _looked_at_often(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have the files looked at as often as the accept loop turns, and that in quick succession."""
    monkeypatch.setattr("manyhands.connections.certificates.FILES_INTERVAL", 0.02)
    monkeypatch.setattr("manyhands.server.served_sockets.POLL_INTERVAL", 0.02)


@pytest.mark.usefixtures("_looked_at_often")
@pytest.mark.parametrize("engine", ENGINES)
def test_changed_files_are_read_again_by_themselves(
    engine: str,
    tmp_path: Path,
    authority: Authority,
    files: dict[str, Any],
    seen: list[events.Event],
) -> None:
    with Server(Echo, ANY_PORT, engine=engine, **files) as server:
        authority.write(tmp_path, "localhost", "new.example")
        wait_until(lambda: any(isinstance(event, events.CertificateReloaded) for event in seen))
        assert shown(server, authority, "new.example") == ["localhost", "new.example"]


@pytest.mark.usefixtures("_looked_at_often")
@pytest.mark.parametrize("engine", ENGINES)
def test_a_broken_file_keeps_the_old_certificate_and_says_so(
    engine: str,
    tmp_path: Path,
    authority: Authority,
    files: dict[str, Any],
    seen: list[events.Event],
) -> None:
    with Server(Echo, ANY_PORT, engine=engine, **files) as server:
        (tmp_path / "site.key").write_bytes(b"scribble")
        wait_until(lambda: any(isinstance(event, events.CertificateNotReloaded) for event in seen))
        assert not server.reload()
        assert shown(server, authority, "old.example") == ["localhost", "old.example"]


def test_reloads_under_load_cost_no_client(
    tmp_path: Path, authority: Authority, files: dict[str, Any], seen: list[events.Event]
) -> None:
    answers: list[bytes] = []

    def ask_often() -> None:
        answers.extend(ask_secretly(bound(server), authority) for _ in range(20))

    with Server(Echo, ANY_PORT, **files) as server:
        threads = [threading.Thread(target=ask_often) for _ in range(3)]
        for thread in threads:
            thread.start()
        while any(thread.is_alive() for thread in threads):
            authority.write(tmp_path, "localhost")
            assert server.reload()
        for thread in threads:
            thread.join()
    assert answers == [b"hello\n"] * 60
    assert not any(isinstance(event, events.HandshakeFailed) for event in seen)


@pytest.mark.parametrize("engine", ["threads", "processes", "fibers"])
def test_sighup_reloads(engine: str, tmp_path: Path, authority: Authority) -> None:
    write_handlers(tmp_path)
    certfile, keyfile = authority.write(tmp_path, "localhost", "old.example")
    words = ["--bind", ANY_PORT, "--certfile", certfile, "--keyfile", keyfile, "--engine", engine]
    command = ["-m", "manyhands", "serve", "handlers:Echo", *words]
    with Program(command, tmp_path) as program:
        address = ("127.0.0.1", int(program.line().rpartition(":")[2]))
        context = authority.client_context()
        with (
            call(address) as plain,
            context.wrap_socket(plain, server_hostname="localhost") as peer,
        ):
            peer.sendall(b"before\n")
            assert peer.recv(100) == b"before\n"
            authority.write(tmp_path, "localhost", "new.example")
            program.send_to_group(signal.SIGHUP)
            assert program.error_line() == f"manyhands: the certificates were reloaded ({certfile})"
            peer.sendall(b"after\n")
            assert peer.recv(100) == b"after\n"
        with (
            call(address) as plain,
            context.wrap_socket(plain, server_hostname="new.example") as peer,
        ):
            assert host_names_shown(peer) == ["localhost", "new.example"]
        program.send(signal.SIGTERM)
        assert program.wait() == 0


def test_the_command_takes_several_certificates_authorities_and_protocols(
    tmp_path: Path, authority: Authority
) -> None:
    write_handlers(tmp_path)
    words = ["--bind", ANY_PORT, "--client-ca", authority.write_authority(tmp_path)]
    words += ["--client-certificates", "optional", "--alpn", "echo", "--alpn", "chat"]
    for stem in ("first", "second"):
        certfile, keyfile = authority.write(tmp_path, f"{stem}.example", stem=stem)
        words += ["--certfile", certfile, "--keyfile", keyfile]
    with Program(["-m", "manyhands", "serve", "handlers:Echo", *words], tmp_path) as program:
        address = ("127.0.0.1", int(program.line().rpartition(":")[2]))
        for client in (authority.client_context(), authority.known_client_context()):
            client.set_alpn_protocols(["chat"])
            with (
                call(address) as plain,
                client.wrap_socket(plain, server_hostname="second.example") as peer,
            ):
                assert host_names_shown(peer) == ["second.example"]
                assert peer.selected_alpn_protocol() == "chat"
                peer.sendall(b"hello\n")
                assert peer.recv(100) == b"hello\n"


# Mistakes


PAIR = {"certfile": "site.pem", "keyfile": "site.key"}


@pytest.mark.parametrize(
    ("address", "options", "sentence"),
    [
        (ANY_PORT, {}, "tls://127.0.0.1:0 needs a certificate: give certfile, and keyfile where"),
        (ANY_PORT, {"keyfile": "site.key"}, "keyfile without certfile is of no use"),
        (ANY_PORT, {"alpn": "h2"}, "alpn without certfile is of no use"),
        ("tcp://:0", {"client_ca": "site.pem"}, "client_ca without certfile is of no use"),
        (ANY_PORT, {**PAIR, "keyfile": ["a", "b"]}, "there must be as many keyfiles as certfiles"),
        (
            ANY_PORT,
            {**PAIR, "client_certificates": "required"},
            "client_certificates is 'required', and there is no client_ca to say whose",
        ),
        (ANY_PORT, {"ssl_context": 1}, "ssl_context must be an ssl.SSLContext, not 1"),
        (
            ANY_PORT,
            {**PAIR, "ssl_context": ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)},
            "give ssl_context or certfile, not both",
        ),
    ],
)
def test_options_that_do_not_fit_together_are_one_sentence(
    address: str, options: dict[str, Any], sentence: str
) -> None:
    with pytest.raises(Mistake) as caught:
        Server(Echo, address, **options)
    assert str(caught.value).startswith(sentence)


def test_a_certificate_that_cannot_be_read_is_one_sentence_before_anything_is_bound() -> None:
    with pytest.raises(Mistake, match=r"^certfile '/.*/missing.pem' cannot be read: No such file"):
        Server(Echo, ANY_PORT, certfile="missing.pem")


def test_files_are_found_again_from_another_folder(
    tmp_path: Path, authority: Authority, monkeypatch: pytest.MonkeyPatch
) -> None:
    authority.write(tmp_path, "localhost")
    monkeypatch.chdir(tmp_path)
    server = Server(Echo, ANY_PORT, **PAIR)
    monkeypatch.chdir(os.sep)
    assert server.reload()


def test_a_server_without_tls_does_not_pay_for_it() -> None:
    program = "import manyhands, sys; manyhands.Server(print, ':0'); print('ssl' in sys.modules)"
    with Program(["-c", program.replace("print,", "lambda a, b, c: 0,")]) as running:
        assert running.line() == "False"
