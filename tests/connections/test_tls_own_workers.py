"""Programs that hand TLS connections to workers of their own: the handshake is done there."""

import queue
import socket
import threading
from concurrent.futures import ThreadPoolExecutor
from types import ModuleType
from typing import Any

import pytest

from manyhands import events, socketserver
from tests.support import (
    Authority,
    ask_secretly,
    call,
    everything,
    is_closed_by_server,
    left_open,
    open_descriptors,
    secured,
    serving,
    wait_until,
)

from .tls_kit import HERE, Answer, Never, failures, speak_no_tls

pytestmark = pytest.mark.filterwarnings("ignore:.*fork")


class Pooled:
    """Has a pool of its own serve requests, as programs do that found threads too many."""

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self.pool = ThreadPoolExecutor(2)

    def process_request(self, request: Any, client_address: Any) -> None:
        self.pool.submit(self.work, request, client_address)

    def work(self, request: Any, client_address: Any) -> None:
        try:
            self.finish_request(request, client_address)  # type: ignore[attr-defined]  # the server's
        except Exception:  # noqa: BLE001 - as the standard library has it
            self.handle_error(request, client_address)  # type: ignore[attr-defined]  # the server's
        finally:
            self.shutdown_request(request)  # type: ignore[attr-defined]  # the server's

    def server_close(self) -> None:
        super().server_close()  # type: ignore[misc]  # the server's
        self.pool.shutdown()


class Queued:
    """Has one thread take requests out of a queue, and look at them before anything else."""

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self.requests: queue.Queue[Any] = queue.Queue()
        self.worker = threading.Thread(target=self.work)
        self.worker.start()

    def process_request(self, request: Any, client_address: Any) -> None:
        self.requests.put((request, client_address))

    def work(self) -> None:
        while item := self.requests.get():
            request, client_address = item
            try:
                assert request.cipher()
                self.finish_request(request, client_address)  # type: ignore[attr-defined]  # see above
            except OSError:
                pass
            finally:
                self.shutdown_request(request)  # type: ignore[attr-defined]  # see above

    def server_close(self) -> None:
        super().server_close()  # type: ignore[misc]  # see above
        self.requests.put(None)
        self.worker.join()


@pytest.mark.parametrize("own", [Pooled, Queued])
def test_workers_of_the_program_s_own_are_served_as_by_the_standard_library(
    module: ModuleType, own: Any, authority: Authority
) -> None:
    kind = type("Server", (own, module.TCPServer), {})
    with serving(secured(kind(HERE, Answer), authority)) as server:
        for _ in range(3):
            assert ask_secretly(server.server_address, authority) == b"hello\n"


@pytest.mark.parametrize("own", [Pooled, Queued])
def test_workers_of_the_program_s_own_run_no_handler_without_a_handshake(
    own: Any, authority: Authority, seen: list[events.Event], capfd: pytest.CaptureFixture[str]
) -> None:
    kind = type("Server", (own, socketserver.TCPServer), {"handshake_timeout": 0.1})
    before = open_descriptors()
    with serving(secured(kind(HERE, Never), authority)) as server:
        with call(server.server_address) as silent:
            assert is_closed_by_server(silent)
        speak_no_tls(server.server_address)
        wait_until(lambda: len(failures(seen)) == 2)
    assert not left_open(before)
    assert capfd.readouterr().err == ""


def test_a_silent_client_stops_no_pool_of_the_program_s_own(authority: Authority) -> None:
    kind = type("Server", (Pooled, socketserver.TCPServer), {})
    with (
        serving(secured(kind(HERE, Answer), authority)) as server,
        call(server.server_address) as silent,
    ):
        assert ask_secretly(server.server_address, authority) == b"hello\n"
        silent.shutdown(socket.SHUT_WR)
        everything(silent)
