"""Out of descriptors: no busy loop, one event, recovery by itself, refusal after patience (row 9)."""

import json
from typing import Any

import pytest

from tests.support import run_python

PROGRAM = """
    import json, os, resource, socket, sys, threading, time, {module} as module
    from manyhands import events
    from manyhands.rules import accept_errors
    from tests.support import Echo, call, wait_until

    accept_errors.PATIENCE = {patience}
    seen = []
    events.hub.subscribe(lambda event: seen.append(type(event).__name__))

    def cpu():
        usage = resource.getrusage(resource.RUSAGE_SELF)
        return usage.ru_utime + usage.ru_stime

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

MEASURE = "time.sleep(0.3); started = cpu(); time.sleep(1); spent = cpu() - started"


def measured(module: str, kind: str) -> Any:
    after = (
        'late[0].settimeout(20); late[0].sendall(b"late\\n"); answer = late[0].recv(10).decode(); '
        "print(json.dumps([spent, answer, seen]), flush=True)"
    )
    output = run_python(
        PROGRAM.format(module=module, kind=kind, patience=60, during=MEASURE, after=after)
    )
    return json.loads(output)


def test_the_loop_rests_and_recovers_by_itself() -> None:
    spent, answer, seen = measured("manyhands.socketserver", "ThreadingTCPServer")
    assert spent < 0.05  # of one processor, for a second
    assert answer == "late\n"
    assert seen == ["AcceptPaused", "AcceptResumed"]


def test_the_standard_library_s_loop_spins() -> None:
    spent, _, _ = measured("socketserver", "ThreadingTCPServer")
    assert spent > 0.2  # the machine may be busy


@pytest.mark.parametrize("kind", ["TCPServer", "ThreadingTCPServer"])
def test_who_waits_is_refused_when_patience_is_over(kind: str) -> None:
    during = (
        "hung_up = []\n    for one in late:\n"
        "        one.settimeout(20)\n        hung_up.append(one.recv(10) == b'')"
    )
    after = (
        "fresh = call(server.server_address); fresh.sendall(b'fresh\\n'); "
        "print(json.dumps([hung_up, fresh.recv(10).decode(), seen]), flush=True)"
    )
    output = run_python(
        PROGRAM.format(
            module="manyhands.socketserver", kind=kind, patience=0.2, during=during, after=after
        )
    )
    hung_up, answer, seen = json.loads(output)
    assert (hung_up, answer) == ([True, True], "fresh\n")
    assert seen == ["AcceptPaused", "BacklogRefused", "AcceptResumed"]
