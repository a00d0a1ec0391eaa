"""The load generator sees every byte that comes back wrong, late, twice, or not at all."""

import contextlib
import socket
import subprocess
import time

import pytest
from bench.build import load_generator

from .conftest import answering

STREAMS = ("echo", "lines", "churn")


def echoing(change):
    """Make a stream handler that answers with what a function makes of the connection's n-th piece."""

    def handle(self):
        count = 0
        while data := self.request.recv(65536):
            self.request.sendall(change(data, count))
            count += 1

    return handle


def once(wrong):
    """Echo well until the connections are open, then wrongly."""
    return echoing(lambda data, count: wrong(data) if count == 1 else data)


def cut(data):
    return data[:-1]


def dropped(data):
    return data[:10] + data[11:]


def doubled(data):
    return data[:10] + data[9:]


def swapped(data):
    return data[:20] + data[28:36] + data[20:28] + data[36:]


def flipped(data):
    return data[:-1] + bytes([data[-1] ^ 1])


def longer(data):
    return data + b"?"


WRONG = (
    (cut, "no answer"),
    (dropped, "wrong bytes"),
    (doubled, "extra bytes"),
    (swapped, "wrong bytes"),
    (flipped, "wrong bytes"),
    (longer, "extra bytes"),
)


@pytest.mark.parametrize("mode", STREAMS)
def test_a_right_echo_is_no_fault(load, mode):
    with answering(echoing(lambda data, count: data), udp=False) as port:
        report = load(mode, port, requests=20, seconds=20)
    assert report["faults"] == {}
    assert report["requests"] >= 20


@pytest.mark.parametrize("depth", [1, 7])
@pytest.mark.parametrize("size", [1, 64, 5000, 1 << 20])
def test_messages_of_every_size_come_back(load, size, depth):
    with answering(echoing(lambda data, count: data), udp=False) as port:
        report = load("echo", port, size=size, depth=depth, requests=20, seconds=20, patience=20)
    assert report["faults"] == {}
    assert report["requests"] >= 20


@pytest.mark.parametrize(("wrong", "fault"), WRONG)
@pytest.mark.parametrize("mode", ["echo", "lines"])
def test_a_wrong_byte_is_seen(load, mode, wrong, fault):
    with answering(once(wrong), udp=False) as port:
        report = load(mode, port)
    assert report["faults"] == {fault: 4}, "one on each connection"
    assert report["first_fault"].startswith("connection ")


def test_a_lost_byte_among_messages_under_way_is_seen_by_the_next(load):
    with answering(once(dropped), udp=False) as port:
        report = load("echo", port, depth=8)
    assert report["faults"] == {"wrong bytes": 4}


@pytest.mark.parametrize(("wrong", "fault"), WRONG)
def test_a_wrong_byte_is_seen_in_a_short_call(load, wrong, fault):
    with answering(echoing(lambda data, count: wrong(data)), udp=False) as port:
        report = load("churn", port)
    assert report["faults"] == {fault: 4}
    assert report["requests"] == 0


def telling(change):
    """Make a stream handler that echoes the first piece; all are told what a function makes of the others."""
    members = []

    def handle(self):
        first = self.request.recv(65536)
        members.append(self.request)
        self.request.sendall(first)
        if first == b"\0deaf":
            time.sleep(0.5)
        while data := self.request.recv(65536):
            for number, member in enumerate(members.copy()):
                with contextlib.suppress(
                    OSError
                ):  # the load gives up one that is told something else
                    member.sendall(change(data, number))

    return handle


def test_what_all_are_told_is_heard_by_each(load):
    with answering(telling(lambda data, number: data), udp=False) as port:
        report = load("tell", port, requests=20, seconds=20, stalled=1)
    assert report["faults"] == {}
    assert report["requests"] >= 20
    assert report["most"] - report["fewest"] <= 1


@pytest.mark.parametrize(("wrong", "fault"), WRONG)
def test_one_of_all_who_is_told_something_else_is_seen(load, wrong, fault):
    def change(data, number):
        return wrong(data) if number == 2 else data

    with answering(telling(change), udp=False) as port:
        report = load("tell", port)
    assert report["faults"] == {fault: 1}


def test_what_one_is_told_twice_is_seen(load):
    with answering(telling(lambda data, number: data * (1 + (number == 1))), udp=False) as port:
        report = load("tell", port)
    assert set(report["faults"]) == {"extra bytes"}


def test_answers_given_to_another_connection_are_seen(load):
    seen = []

    def swap(self):
        first = self.request.recv(65536)
        seen.append(self.request)
        self.request.sendall(first)
        data = self.request.recv(65536)
        peers = list(seen)
        peers[peers.index(self.request) - 1].sendall(data)
        self.request.recv(65536)

    with answering(swap, udp=False) as port:
        report = load("echo", port)
    assert report["faults"]["wrong bytes"] >= 1


@pytest.mark.parametrize("mode", STREAMS)
def test_a_server_that_closes_early_is_a_fault(load, mode):
    def close(self):
        if mode != "churn":
            self.request.sendall(self.request.recv(65536))
        self.request.recv(10)

    with answering(close, udp=False) as port:
        report = load(mode, port)
    # What the server has not read is answered with a reset by the kernel.
    assert set(report["faults"]) <= {"closed early", "reset"}
    assert sum(report["faults"].values()) == 4


@pytest.mark.parametrize("mode", STREAMS)
def test_an_answer_that_never_comes_is_a_fault(load, mode):
    def swallow(self):
        if mode != "churn":
            self.request.sendall(self.request.recv(65536))
        while self.request.recv(65536):
            pass

    with answering(swallow, udp=False) as port:
        report = load(mode, port)
    # A call that is not answered is not over; a message that is not answered has come back not at all.
    assert report["faults"] == {"no answer": 4}


def test_a_server_that_keeps_its_side_open_leaves_a_call_unfinished(load):
    def hold(self):
        self.request.sendall(self.request.recv(65536))
        time.sleep(1)

    with answering(hold, udp=False) as port:
        report = load("churn", port)
    assert report["faults"] == {"no answer": 4}


def test_a_late_answer_shows_as_latency(load):
    def late(data, count):
        if count == 1:
            time.sleep(0.3)
        return data

    with answering(echoing(late), udp=False) as port:
        report = load("echo", port, patience=20, seconds=20, requests=20)
    assert report["faults"] == {}
    assert report["requests"] >= 20
    assert report["latency_us"]["max"] > 250_000


def test_an_answer_that_comes_after_the_window_still_shows_as_latency(load):
    # The first piece of each of two connections opens it; the next of all pieces is late.
    late = iter([0, 0, 0.6])

    def handle(self):
        while data := self.request.recv(65536):
            time.sleep(next(late, 0))
            self.request.sendall(data)

    with answering(handle, udp=False) as port:
        report = load("echo", port, patience=20, seconds=0.05, connections=2)
    assert report["faults"] == {}
    assert report["seconds"] < 0.5
    assert report["latency_us"]["max"] > 550_000


def test_a_server_that_starves_every_client_is_measured_until_it_answers_again(load):
    def late(data, count):
        if count == 1:
            time.sleep(0.3)
        return data

    with answering(echoing(late), udp=False) as port:
        report = load("echo", port, patience=20, seconds=0.05)
    assert report["requests"] >= 1
    assert report["seconds"] > 0.25


@pytest.mark.parametrize("mode", ["echo", "churn", "crowd"])
def test_a_port_without_a_listener_is_a_fault(load, mode):
    with answering(lambda self: None, udp=False) as port:
        pass
    if mode == "crowd":
        [held, _] = crowd(port)
        assert '"failed": true' in held
    else:
        assert load(mode, port)["faults"] == {"no connection": 4}


def test_requests_can_be_counted_instead_of_timed(load):
    with answering(echoing(lambda data, count: data), udp=False) as port:
        report = load("echo", port, requests=50, seconds=20)
    assert 50 <= report["requests"] < 60, "and those that came in the same moment"
    assert report["seconds"] < 20


@pytest.mark.parametrize("wrong", [dropped, swapped, longer, lambda data: b""])
def test_a_changed_datagram_is_seen(load, wrong):
    def handle(self):
        data, connection = self.request
        connection.sendto(wrong(data), self.client_address)

    with answering(handle, udp=True) as port:
        assert load("udp", port)["faults"] == {"wrong bytes": 4}


def test_a_lost_datagram_is_seen(load):
    with answering(lambda self: None, udp=True) as port:
        assert load("udp", port)["faults"] == {"no answer": 4}


def test_a_datagram_that_comes_twice_is_seen(load):
    def twice(self):
        data, connection = self.request
        connection.sendto(data, self.client_address)
        connection.sendto(data, self.client_address)

    with answering(twice, udp=True) as port:
        assert load("udp", port)["faults"] != {}


def crowd(port, size=300):
    command = [load_generator(), "crowd", "--port", str(port), "--connections", str(size)]
    ran = subprocess.run(
        [*command, "--patience", "1"],
        capture_output=True,
        text=True,
        input="",
        timeout=30,
        check=False,
    )
    return ran.stdout.splitlines()


def test_a_crowd_is_held_and_served_at_the_end_too():
    with answering(echoing(lambda data, count: data), udp=False) as port:
        [held, served] = crowd(port)
    assert '"held": 300' in held
    assert '"still_served": 300' in served
    assert '"failed": false' in served


def test_a_crowd_that_is_not_served_any_more_is_seen():
    with answering(echoing(lambda data, count: data if count == 0 else b"?"), udp=False) as port:
        [held, served] = crowd(port)
    assert '"failed": false' in held
    assert '"failed": true' in served


def test_a_backlog_that_is_full_is_not_waited_for_longer_than_the_patience(load):
    with socket.create_server(("127.0.0.1", 0), backlog=1) as never_accepting:
        report = load("echo", never_accepting.getsockname()[1], patience=0.2, connections=5)
    assert set(report["faults"]) == {"no connection", "no answer"}
    assert sum(report["faults"].values()) == 5


def test_it_says_what_it_did_not_understand():
    ran = subprocess.run([load_generator(), "dance"], capture_output=True, text=True, check=False)
    assert ran.returncode == 2
    assert ran.stderr.startswith("usage: load")
