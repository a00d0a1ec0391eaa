"""The names that programs reach for are there, and are what they are in the standard library."""

import inspect
import socketserver as standard
from types import ModuleType

import pytest

from manyhands import socketserver

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
