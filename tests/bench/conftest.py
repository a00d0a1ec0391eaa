"""The load generator, and servers that echo wrongly."""

import json
import os
import socketserver
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from bench.build import load_generator

Load = Callable[..., dict[str, Any]]


@pytest.fixture(autouse=True)
def in_no_hurry(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let operators' clients have their share of a machine that is busy, where no latency counts."""
    monkeypatch.setattr("bench.attended.GIVES_WAY", os.SCHED_OTHER)


@pytest.fixture(scope="session")
def load() -> Load:
    """Run the load generator against a port for a tenth of a second; return its report."""

    def run(mode: str, port: int, **options: float) -> dict[str, Any]:
        options = {"seconds": 0.1, "patience": 0.3, "connections": 4, **options}
        command = [str(load_generator()), mode, "--port", str(port)]
        for name, value in options.items():
            command += [f"--{name}", str(value)]
        ran = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
        assert ran.stderr == ""
        report = json.loads(ran.stdout)
        assert ran.returncode == (1 if report["faults"] else 0)
        return report

    return run


@contextmanager
def answering(
    handle: Callable[[socketserver.BaseRequestHandler], None], udp: bool
) -> Iterator[int]:
    """Serve with a function in the place of a handler's `handle`; yield the port."""
    base = socketserver.ThreadingUDPServer if udp else socketserver.ThreadingTCPServer
    handler = type("Handler", (socketserver.BaseRequestHandler,), {"handle": handle})
    server = type("Server", (base,), {"daemon_threads": True, "request_queue_size": 100})(
        ("127.0.0.1", 0), handler
    )
    # A server that is cut off by its client is what these tests are about.
    server.handle_error = lambda request, client_address: None
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    try:
        yield server.server_address[1]
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
