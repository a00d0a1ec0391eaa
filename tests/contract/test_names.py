"""The names that programs reach for are there, and are what they are in the standard library."""

import contextlib
import inspect
import socketserver as standard
import sys
import typing
from types import ModuleType
from unittest import mock

import pytest

from manyhands import socketserver
from manyhands.serving.core import core_of
from tests.support import Authority, Echo, ask, call, serving

PRIVATE_NAMES = ("_ServerSelector", "_SocketWriter", "_Threads", "_NoThreads")

BETTER_DEFAULTS = {"request_queue_size", "allow_reuse_address"}
"""Class attributes whose standard value is one of the pains that ours cures."""

SETTINGS = """
    timeout address_family socket_type request_queue_size allow_reuse_address allow_reuse_port
"""
HOOKS = """
    server_bind server_activate get_request verify_request process_request finish_request
    shutdown_request close_request handle_request handle_timeout handle_error service_actions
    serve_forever shutdown server_close fileno __enter__ __exit__ _handle_request_noblock
"""

EXTRA_NAMES = {
    "ThreadingTCPServer": [
        "daemon_threads",
        "block_on_close",
        "_threads",
        "process_request_thread",
    ],
    "ForkingTCPServer": ["max_children", "active_children", "block_on_close", "collect_children"],
    "UDPServer": ["max_packet_size"],
}

HANDLER_NAMES = "timeout rbufsize wbufsize disable_nagle_algorithm setup handle finish"


def test_the_public_names_are_those_of_the_running_version() -> None:
    assert sorted(socketserver.__all__) == sorted(standard.__all__)
    assert all(hasattr(socketserver, name) for name in socketserver.__all__)


@pytest.mark.parametrize("name", PRIVATE_NAMES)
def test_private_names_that_programs_use_are_there(module: ModuleType, name: str) -> None:
    assert hasattr(module, name)


def test_no_name_of_the_standard_module_is_absent() -> None:
    # (The interpreter notes there which warnings it has shown.)
    assert set(dir(standard)) - {"__warningregistry__"} <= set(dir(socketserver))


@pytest.mark.filterwarnings("ignore:'__version__' is deprecated:DeprecationWarning")
def test_the_module_has_the_standard_library_s_version() -> None:
    # It warns of the name's removal since Python 3.15, and so does ours.
    assert socketserver.__version__ == standard.__version__  # type: ignore[attr-defined]  # unknown to typeshed
    with pytest.raises(AttributeError, match="has no attribute 'no_such_name'"):
        _ = socketserver.no_such_name  # type: ignore[attr-defined]  # that is the point


@pytest.mark.parametrize("name", standard.__all__)
def test_each_class_has_the_same_order_of_look_up(name: str) -> None:
    ours = [kind.__name__ for kind in getattr(socketserver, name).__mro__]
    assert ours == [kind.__name__ for kind in getattr(standard, name).__mro__]


@pytest.mark.parametrize("name", [*SETTINGS.split(), *HOOKS.split()])
def test_a_server_has_each_name(module: ModuleType, name: str) -> None:
    assert hasattr(module.TCPServer, name)


@pytest.mark.parametrize("kind", EXTRA_NAMES)
def test_mix_ins_bring_their_names(module: ModuleType, kind: str) -> None:
    assert all(hasattr(getattr(module, kind), name) for name in EXTRA_NAMES[kind])


@pytest.mark.parametrize("name", HANDLER_NAMES.split())
def test_a_handler_has_each_name(module: ModuleType, name: str) -> None:
    assert hasattr(module.StreamRequestHandler, name)


@pytest.mark.parametrize("name", standard.__all__)
def test_class_attributes_have_the_standard_values(name: str) -> None:
    original, ours = getattr(standard, name), getattr(socketserver, name)
    for attribute, value in inspect.getmembers(original):
        is_setting = isinstance(value, int | float | type(None)) and not attribute.startswith("__")
        if is_setting and attribute not in BETTER_DEFAULTS:
            assert getattr(ours, attribute) == value, attribute


@pytest.mark.parametrize("name", standard.__all__)
def test_hooks_take_the_standard_arguments(name: str) -> None:
    original, ours = getattr(standard, name), getattr(socketserver, name)
    for hook, function in inspect.getmembers(original, inspect.isfunction):
        if hook.startswith("__") and hook != "__init__":
            continue
        expected = list(inspect.signature(function).parameters)
        taken = list(inspect.signature(getattr(ours, hook)).parameters)
        assert taken[: len(expected)] == expected, hook


def test_an_instance_has_its_names(module: ModuleType) -> None:
    with module.TCPServer(("127.0.0.1", 0), module.BaseRequestHandler) as server:
        assert server.server_address == server.socket.getsockname()
        assert server.RequestHandlerClass is module.BaseRequestHandler
        assert server.fileno() == server.socket.fileno()


def test_the_modules_own_imports_are_reachable_through_it(module: ModuleType) -> None:
    for name in ("socket", "selectors", "os", "sys", "threading", "time", "BufferedIOBase"):
        assert hasattr(module, name)


@pytest.mark.parametrize("name", ["engine", "socket"])
def test_a_class_has_no_attribute_that_programs_look_for_in_vain(
    module: ModuleType, name: str
) -> None:
    # `if not hasattr(self, "engine"): self.engine = ...`
    assert not hasattr(module.BaseServer, name)


NOT_A_NUMBER_OF_WORKERS = [0, -1, 2.5, "10", "", None, True, [], object()]


@pytest.mark.parametrize("value", NOT_A_NUMBER_OF_WORKERS, ids=repr)
@pytest.mark.parametrize("place", ["class", "instance"])
def test_a_max_threads_of_the_program_s_own_is_no_bound(
    module: ModuleType, value: object, place: str
) -> None:
    class Server(module.ThreadingTCPServer):  # type: ignore[name-defined,misc]  # of either module
        def __init__(self) -> None:
            super().__init__(("127.0.0.1", 0), Echo)
            (self if place == "instance" else type(self)).max_threads = value

    with serving(Server()) as server, contextlib.ExitStack() as stack:
        peers = [stack.enter_context(call(server.server_address)) for _ in range(3)]
        for peer in peers:
            peer.sendall(b"hello\n")
            assert peer.recv(10) == b"hello\n"


@pytest.mark.filterwarnings("ignore:.*fork")
@pytest.mark.parametrize("value", NOT_A_NUMBER_OF_WORKERS, ids=repr)
def test_a_max_children_of_the_program_s_own_leaves_the_usual_bound(value: object) -> None:
    with serving(socketserver.ForkingTCPServer(("127.0.0.1", 0), Echo)) as server:
        server.max_children = value
        assert ask(server.server_address) == b"hello\n"
        assert core_of(server).engines.of(server).limit == 40


@pytest.mark.filterwarnings("ignore:.*fork")
@pytest.mark.parametrize("kind", ["TCPServer", "ThreadingTCPServer", "ForkingTCPServer"])
def test_a_program_s_own_attributes_do_not_get_in_the_way(module: ModuleType, kind: str) -> None:
    class Server(getattr(module, kind)):  # type: ignore[misc]  # of either module
        def __init__(self) -> None:
            super().__init__(("127.0.0.1", 0), Echo)
            self.engine = self.engines = self.listener = self.reserve = self.waker = None
            self._engine = self._current_engine = self._processes = self._resting = []
            self._tasks = self._lock = self._loop = self._thread = self._backoff = "the program's"

    with serving(Server()) as server:
        for _ in range(2):
            assert ask(server.server_address) == b"hello\n"
        assert (server._processes, server._loop) == ([], "the program's")


def test_a_handshake_timeout_of_the_program_s_own_costs_no_client(authority: Authority) -> None:
    with socketserver.ThreadingTCPServer(("localhost", 0), Echo) as server:
        server.handshake_timeout = "soon"
        server.socket = authority.server_context().wrap_socket(server.socket, server_side=True)
        with serving(server), call(server.server_address) as plain:
            context = authority.client_context()
            with context.wrap_socket(plain, server_hostname="localhost") as peer:
                peer.sendall(b"hello\n")
                assert peer.recv(10) == b"hello\n"


@pytest.mark.parametrize("name", socketserver.__all__)
def test_a_mock_of_a_class_can_be_made(name: str) -> None:
    mock.create_autospec(getattr(socketserver, name))
    mock.Mock(spec=getattr(socketserver, name))


@pytest.mark.parametrize("name", socketserver.__all__)
def test_the_type_hints_of_a_class_and_of_a_program_s_subclass_can_be_read(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    kind = getattr(socketserver, name)
    # As after `install`: of a class, hints are looked up in the module that it says it is of.
    monkeypatch.setitem(sys.modules, "socketserver", socketserver)
    own = type("Own", (kind,), {"__annotations__": {"number": int}, "__module__": __name__})
    assert typing.get_type_hints(own)["number"] is int
    for method in vars(kind).values():
        if inspect.isfunction(method):
            typing.get_type_hints(method)
