"""A connection that reaches no engine, or by a hook of the program's own, is counted all the same."""

import gc
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from manyhands.model.connection_states import Reason
from tests.support import Echo, call, everything, hear, read_line, serving, wait_until

from .admission_kit import Hold, calling, enter, is_refused, leave, server_of, wait_for_balance

pytestmark = pytest.mark.filterwarnings("ignore:.*fork")


class Quiet:
    """Keeps silent about failures."""

    def handle_error(self, request: Any, client_address: Any) -> None:
        pass


def test_what_verify_request_refuses_is_counted(engine: str) -> None:
    class Strict:
        def verify_request(self, request: Any, client_address: Any) -> bool:
            return False

    with serving(server_of(engine, Echo, Strict, max_connections_per_ip=1), 0.02) as server:
        for _ in range(3):
            assert hear(server.server_address) == b""
        wait_for_balance(server.connections, refused_by_hook=3)


@pytest.mark.parametrize("hook", ["verify_request", "process_request"])
def test_what_a_failing_hook_refuses_is_counted(engine: str, hook: str) -> None:
    def fail(self: Any, request: Any, client_address: Any) -> bool:
        raise ValueError("as told")

    failing = type("Failing", (Quiet,), {hook: fail})
    with serving(server_of(engine, Echo, failing, max_connections_per_ip=1), 0.02) as server:
        for _ in range(2):
            assert hear(server.server_address) == b""
        wait_for_balance(server.connections, refused_by_hook=2)


def test_what_a_handler_raises_is_counted_once(engine: str) -> None:
    def fail(*_: object) -> None:
        raise ValueError("as told")

    with serving(server_of(engine, fail, Quiet, max_connections_per_ip=1), 0.02) as server:
        for _ in range(2):
            assert hear(server.server_address) == b""
            wait_until(lambda: not server.connections)
        wait_for_balance(server.connections, handler_failed=2)


class Keeping:
    """Keeps its connections itself."""

    def process_request(self, request: Any, client_address: Any) -> None:
        self.kept.append(request)
        request.sendall(b"in\n")


@pytest.mark.parametrize("closes", [True, False])
def test_what_a_program_took_counts_until_it_is_gone(engine: str, closes: bool) -> None:
    kept: list[Any] = []
    options: dict[str, Any] = {"kept": kept, "max_connections": 1, "when_full": "refuse"}
    with serving(server_of(engine, Echo, Keeping, **options), 0.02) as server:
        with enter(server.server_address):
            assert is_refused(server.server_address)
            if closes:
                kept[0].close()
            else:
                kept.clear()
                gc.collect()
            wait_until(lambda: Reason.HANDED_OFF in server.connections.closed)
        enter(server.server_address).close()
        assert server.connections.closed == {Reason.HANDED_OFF: 1, Reason.REFUSED_FULL: 1}


def test_a_waiting_client_comes_in_when_what_a_program_took_is_gone() -> None:
    kept: list[Any] = []
    with (
        serving(server_of("threads", Echo, Keeping, kept=kept, max_connections=1)) as server,
        enter(server.server_address),
        call(server.server_address) as waiting,
    ):
        kept.clear()
        gc.collect()
        assert read_line(waiting) == b"in\n"


def test_what_comes_back_from_an_executor_is_one_connection() -> None:
    with ThreadPoolExecutor(1) as executor:
        begin = threading.Event()

        class Delegating:
            def process_request(self, request: Any, client_address: Any) -> None:
                def later() -> None:
                    begin.wait()
                    super(Delegating, self).process_request(request, client_address)  # type: ignore[misc]

                executor.submit(later)

        kind = server_of("threads", Hold, Delegating, max_connections=2, max_connections_per_ip=2)
        with serving(kind) as server:
            with calling(server.server_address) as first, calling(server.server_address) as second:
                begin.set()
                for peer in (first, second):
                    assert read_line(peer) == b"in\n"
                assert server.connections.balance == (2, 2, 0)
                for peer in (first, second):
                    leave(peer)
            wait_for_balance(server.connections, handler_returned=2)
            leave(enter(server.server_address))


def test_what_a_hook_wraps_is_one_connection(authority: Any) -> None:
    context = authority.server_context()

    class Wrapping:
        def process_request(self, request: Any, client_address: Any) -> None:
            wrapped = context.wrap_socket(request, server_side=True, do_handshake_on_connect=False)
            super().process_request(wrapped, client_address)  # type: ignore[misc]

    with serving(server_of("threads", Hold, Wrapping, max_connections=1)) as server:
        for _ in range(2):
            with calling(server.server_address) as plain:
                client = authority.client_context()
                with client.wrap_socket(plain, server_hostname="localhost") as peer:
                    assert peer.recv(3) == b"in\n"
                    peer.sendall(b"bye\n")
                    everything(peer)
        wait_for_balance(server.connections, handler_returned=2)


def test_a_loop_of_the_programs_own_is_subject_to_admission_too() -> None:
    with (
        server_of("threads", Hold, max_connections=1, when_full="refuse") as server,
        calling(server.server_address) as first,
        calling(server.server_address) as second,
    ):
        for _ in range(2):
            server.process_request(*server.get_request())
        assert read_line(first) == b"in\n"
        assert everything(second) == b""
        assert server.connections.closed == {Reason.REFUSED_FULL: 1}
        leave(first)
