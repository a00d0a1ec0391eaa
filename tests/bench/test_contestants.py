"""Every contestant answers, in each of its services, with every byte right."""

from dataclasses import replace

import pytest
from bench.attended import attended
from bench.contestants import CONTESTANTS, HERE, LIMIT, Contestant
from bench.processes import Cores, MeasurementError, crowd, load, serving
from bench.rounds import measure
from bench.workloads import WORKLOADS, Effort

MODES = {
    "tell": "tell",
    "tell-stalled": "tell",
    "tell-program": "tell",
    "echo": "echo",
    "lines": "lines",
    "udp": "udp",
    "tls": "tls",
    "halves": "echo",
    "in-turn": "churn",
    "in-turn-udp": "udp",
    "requests": "churn",
    "requests-udp": "udp",
}
SERVICES = [
    (name, service)
    for name, contestant in CONTESTANTS.items()
    for service in contestant.services
    if service in MODES
]

# Enough to come by every line of a program, and no more: what is asked here is whether it answers.
BRIEF = Effort(warmup=0, seconds=0.05, patience=20, crowd_share=0.001, stops=1)


@pytest.fixture(scope="module")
def cores():
    return Cores.choose()


@pytest.mark.parametrize(("name", "service"), SERVICES)
def test_it_answers(name, service, cores, record_property):
    contestant = CONTESTANTS[name]
    if reason := contestant.missing():
        record_property("missing", f"contestant {contestant.title}: {reason}")
        assert name == "node", reason
        return
    with serving(contestant, service, cores) as server:
        report = load(
            MODES[service],
            server,
            cores,
            seconds=10,
            requests=50,
            connections=5,
            patience=20,
            stalled=1 if service == "tell-stalled" else None,
            datagram=1 if service == "tell-program" else None,
        )
    assert report["requests"] >= 50


def test_the_processor_time_is_the_servers_within_the_window(cores):
    with serving(CONTESTANTS["stdlib"], "echo", cores) as server:
        report = load("echo", server, cores, warmup=0.2, seconds=0.3, connections=10)
    assert 0 < report["server_cpu"] <= report["seconds"] + 0.05
    assert 0 < report["load_cpu"] <= report["seconds"] + 0.05
    # Both are on the cores whose time was read; its clock is the coarser one.
    assert report["cores_busy"] > report["server_cpu"] + report["load_cpu"] - 0.1


def test_the_processor_time_of_forked_handlers_is_the_servers(cores):
    with serving(CONTESTANTS["manyhands-processes"], "echo", cores) as server:
        reports = {
            mode: load(mode, server, cores, warmup=0.1, seconds=0.3, connections=5)
            for mode in ("echo", "churn")
        }
    # Of handlers that are at work, and of those that have ended: the parent has no part in an echo.
    assert reports["echo"]["server_cpu"] > reports["echo"]["requests"] * 2e-6
    assert reports["churn"]["server_cpu"] > reports["churn"]["requests"] * 300e-6


def test_a_contestant_that_is_watched_must_tell_its_watcher(cores):
    untold = replace(CONTESTANTS["manyhands-fibers"], is_watched=True)
    with (
        pytest.raises(MeasurementError, match="there is no control socket"),
        attended(untold, "echo", cores),
    ):
        pass
    with attended(CONTESTANTS["manyhands-guarded"], "echo", cores) as server:
        assert load("echo", server, cores, seconds=0.05)["requests"]


@pytest.mark.parametrize(
    "workload", [name for name, each in WORKLOADS.items() if each.service_of(CONTESTANTS[LIMIT])]
)
def test_every_workload_can_be_put_on_the_c_loop(workload, cores):
    record = measure(workload, LIMIT, BRIEF, cores)
    assert record["fault"] is None


@pytest.mark.parametrize(
    "workload",
    [
        "lines-100",
        "churn-32",
        "call-4000",
        "udp-100",
        "stop",
        "tls-first",
        "two-writes-1",
        "tell-10000",
        "tell-stalled",
        "tell-500-program",
    ],
)
def test_threads_bear_it(workload, cores):
    record = measure(workload, "manyhands-threads", BRIEF, cores)
    assert record["fault"] is None


def test_each_load_on_connections_tells_its_latency(cores):
    for name, workload in WORKLOADS.items():
        if name != "stop":
            contestant = next(
                one
                for one in ("stdlib", "stdlib-in-turn", LIMIT)
                if workload.service_of(CONTESTANTS[one])
            )
            figures = measure(name, contestant, BRIEF, cores)["figures"]
            assert {"cpu_us", "p50", "p99.9", "max"} <= figures.keys(), workload


def test_an_answer_that_is_wrong_over_tls_fails_the_measurement(cores, tmp_path, monkeypatch):
    (tmp_path / "wrong.py").write_text(
        "import socketserver, ssl\n"
        "class Wrong(socketserver.BaseRequestHandler):\n"
        "    def handle(self):\n"
        "        self.request.sendall(self.request.recv(65536)[:-1] + b'?')\n"
        "server = socketserver.ThreadingTCPServer(('127.0.0.1', 0), Wrong)\n"
        "context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)\n"
        f"context.load_cert_chain({str(HERE / 'localhost.pem')!r})\n"
        "server.socket = context.wrap_socket(server.socket, server_side=True)\n"
        "print(server.server_address[1], flush=True)\n"
        "server.serve_forever()\n"
    )
    monkeypatch.setattr("bench.contestants.HERE", tmp_path)
    wrong = Contestant("wrong", "the wrong one", "wrong.py", ("tls",), nodelay=False)
    monkeypatch.setitem(CONTESTANTS, "wrong", wrong)
    record = measure("tls-first", "wrong", BRIEF, cores)
    assert record["figures"] is None
    assert "1 × wrong answers" in record["fault"]


def test_idle_connections_are_weighed(cores):
    record = measure("idle-15000", "gevent", replace(BRIEF, crowd_share=0.1, seconds=0.2), cores)
    assert record["figures"]["crowd"] == 1500
    # It holds a greenlet and a socket for each.
    assert 2_000 < record["figures"]["memory_bytes"] < 50_000


def test_a_server_that_dies_is_named_with_its_last_words(cores, tmp_path, monkeypatch):
    (tmp_path / "dying.py").write_text("raise SystemExit('out of luck')")
    monkeypatch.setattr("bench.contestants.HERE", tmp_path)
    dying = Contestant("dying", "the dying one", "dying.py", ("echo",), nodelay=False)
    with pytest.raises(
        MeasurementError, match="the dying one does not listen; it wrote: out of luck"
    ):
        serving(dying, "echo", cores).__enter__()


def test_a_server_that_never_says_its_port_is_given_up(cores, tmp_path, monkeypatch):
    (tmp_path / "silent.py").write_text("import time; time.sleep(60)")
    monkeypatch.setattr("bench.contestants.HERE", tmp_path)
    monkeypatch.setattr("bench.processes.START_PATIENCE", 0.2)
    silent = Contestant("silent", "the silent one", "silent.py", ("echo",), nodelay=False)
    with pytest.raises(MeasurementError, match="the silent one does not listen"):
        serving(silent, "echo", cores).__enter__()


def test_a_measurement_that_fails_is_a_record_with_the_fault(cores, tmp_path, monkeypatch):
    (tmp_path / "wrong.py").write_text(
        "import socketserver\n"
        "class Wrong(socketserver.BaseRequestHandler):\n"
        "    def handle(self):\n"
        "        while data := self.request.recv(65536): self.request.sendall(data[:-1] + b'?')\n"
        "class Server(socketserver.ThreadingTCPServer): request_queue_size = 100\n"
        "server = Server(('127.0.0.1', 0), Wrong)\n"
        "print(server.server_address[1], flush=True)\n"
        "server.serve_forever()\n"
    )
    monkeypatch.setattr("bench.contestants.HERE", tmp_path)
    wrong = Contestant("wrong", "the wrong one", "wrong.py", ("echo",), nodelay=False)
    monkeypatch.setitem(CONTESTANTS, "wrong", wrong)
    record = measure("echo-64-1", "wrong", BRIEF, cores)
    assert record["figures"] is None
    assert record["fault"].startswith("1 × wrong bytes (connection 0: byte 63 came back as 3f, not")


def test_what_cannot_be_imported_is_missing_with_the_reason():
    contestant = Contestant("x", "X", "x.py", (), nodelay=False, needs="manyhands:no_such_thing")
    assert (
        contestant.missing() == "ImportError: cannot import name 'no_such_thing' from 'manyhands'"
    )


def test_a_crowd_may_need_several_holders(cores, monkeypatch):
    monkeypatch.setattr("bench.processes.allow_descriptors", lambda: 110)
    with serving(CONTESTANTS[LIMIT], "echo", cores) as server, crowd(25, server, cores):
        pass
