"""Out of descriptors: no busy loop, one event, recovery by itself, refusal after patience (row 9)."""

import errno
import json
import os
import time
from typing import Any

import pytest

from manyhands import events, socketserver
from manyhands.model import accept_errors
from tests.support import Echo, call, is_closed_by_server, run_python, serving, wait_until

HERE = ("127.0.0.1", 0)

PROGRAM = """
    import json, os, resource, socket, sys, threading, time, {module} as module
    from manyhands import events
    from manyhands.model import accept_errors
    from tests.support import Echo, call, wait_until

    accept_errors.REFUSE_AFTER = {patience}
    seen = []
    events.hub.subscribe(lambda event: seen.append(type(event).__name__))

    def cpu():
        return time.clock_gettime(time.pthread_getcpuclockid(thread.ident))

    def count():
        return len(os.listdir("/proc/self/fd"))

    server = module.{kind}(("127.0.0.1", 0), Echo)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    peer = call(server.server_address)
    resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64))
    thread.start()
    peer.sendall(b"up\\n")
    assert peer.recv(10) == b"up\\n"
    served = count()
    hoard = []
    peer.shutdown(socket.SHUT_WR)
    assert peer.recv(10) == b""
    # The server's copy of that connection must be gone before the last descriptor is taken.
    wait_until(lambda: count() == served - 1)
    late = [socket.socket() for _ in range(2)]
    try:
        while True:
            hoard.append(os.open(os.devnull, os.O_RDONLY))
    except OSError:
        pass
    for one in late:
        one.connect(server.server_address)
    {during}
    for descriptor in hoard:
        os.close(descriptor)
    {after}
    os._exit(0)
"""

FOR_A_WHILE = "time.sleep(0.3); started = cpu(); time.sleep(0.5); spent = cpu() - started"

UNTIL_IT_IS_MUCH = "wait_until(lambda: cpu() > 0.2); spent = cpu()"


def measured(module: str, kind: str, measure: str) -> Any:
    after = (
        'late[0].settimeout(20); late[0].sendall(b"late\\n"); answer = late[0].recv(10).decode(); '
        "print(json.dumps([spent, answer, seen]), flush=True)"
    )
    output = run_python(
        PROGRAM.format(module=module, kind=kind, patience=60, during=measure, after=after)
    )
    return json.loads(output)


def test_the_loop_rests_and_recovers_by_itself() -> None:
    spent, answer, seen = measured("manyhands.socketserver", "ThreadingTCPServer", FOR_A_WHILE)
    assert spent < 0.025  # of one processor, for half a second
    assert answer == "late\n"
    assert seen == ["AcceptPaused", "AcceptResumed"]


def test_the_standard_library_s_loop_spins() -> None:
    # However little of a busy machine it gets.
    spent, _, _ = measured("socketserver", "ThreadingTCPServer", UNTIL_IT_IS_MUCH)
    assert spent > 0.2


@pytest.mark.parametrize("kind", ["TCPServer", "ThreadingTCPServer"])
def test_waiting_clients_are_refused_when_patience_is_over(kind: str) -> None:
    during = (
        "hung_up = []\n    for one in late:\n"
        "        one.settimeout(20)\n        hung_up.append(one.recv(10) == b'')\n"
        # Until then it refuses each client.
        "    wait_until(lambda: 'BacklogRefused' in seen)"
    )
    after = (
        "fresh = call(server.server_address); fresh.sendall(b'fresh\\n'); "
        "closed = {r.value: n for r, n in server.connections.closed.items()}; "
        "print(json.dumps([hung_up, fresh.recv(10).decode(), seen, closed]), flush=True)"
    )
    output = run_python(
        PROGRAM.format(
            module="manyhands.socketserver", kind=kind, patience=0.2, during=during, after=after
        )
    )
    hung_up, answer, seen, closed = json.loads(output)
    assert (hung_up, answer) == ([True, True], "fresh\n")
    assert closed["refused_out_of_descriptors"] == 2
    assert seen == ["AcceptPaused", "BacklogRefused", "AcceptResumed"]


class OutOfDescriptors(socketserver.TCPServer):
    """Accepts no client."""

    def get_request(self) -> Any:
        raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))


def test_handle_request_rests_no_longer_than_its_timeout(monkeypatch: pytest.MonkeyPatch) -> None:
    rests: list[float] = []
    with OutOfDescriptors(HERE, Echo) as server, call(server.server_address):
        server.timeout = 0.05
        monkeypatch.setattr(time, "sleep", rests.append)
        for _ in range(6):
            server.handle_request()
    monkeypatch.undo()
    # Without a bound the last of them would be 0.32 s.
    assert 0.005 < rests[0] <= 0.01
    assert max(rests) <= 0.05


def test_handle_request_rests_when_it_has_no_timeout(monkeypatch: pytest.MonkeyPatch) -> None:
    rests: list[float] = []
    with OutOfDescriptors(HERE, Echo) as server, call(server.server_address):
        monkeypatch.setattr(time, "sleep", rests.append)
        for _ in range(6):
            server.handle_request()
    monkeypatch.undo()
    assert 0.2 < max(rests) <= 0.32


def test_refused_clients_are_counted_for_the_real_reason(
    monkeypatch: pytest.MonkeyPatch, seen: list[events.Event]
) -> None:
    class Server(socketserver.TCPServer):
        def get_request(self) -> Any:
            raise OSError(errno.ENOMEM, "no memory today")

    monkeypatch.setattr(accept_errors, "REFUSE_AFTER", 0.0)
    with serving(Server(HERE, Echo)) as server, call(server.server_address) as peer:
        assert is_closed_by_server(peer)
        wait_until(lambda: any(isinstance(event, events.BacklogRefused) for event in seen))
    (refused,) = [event for event in seen if isinstance(event, events.BacklogRefused)]
    assert str(refused).endswith("closed 1 waiting clients unserved: no memory today")
