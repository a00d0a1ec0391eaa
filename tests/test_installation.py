"""`install()` is tested in processes of its own: it changes what every later import gives."""

import subprocess
import sys
import textwrap
from pathlib import Path

SRC = Path(__file__).parents[1] / "src"


def python(program: str) -> str:
    finished = subprocess.run(
        [sys.executable, "-W", "always", "-c", textwrap.dedent(program)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert finished.returncode == 0, finished.stderr
    return finished.stdout + finished.stderr


def test_after_install_the_standard_name_is_ours() -> None:
    output = python("""
        import manyhands
        assert manyhands.install() is manyhands.socketserver
        import socketserver, http.server, xmlrpc.server, wsgiref.simple_server, logging.config
        assert socketserver is manyhands.socketserver
        ours = manyhands.BaseServer
        for module in (http.server.HTTPServer, xmlrpc.server.SimpleXMLRPCServer,
                       wsgiref.simple_server.WSGIServer, logging.config.ThreadingTCPServer):
            assert issubclass(module, ours)
    """)
    assert output == ""


def test_public_classes_say_that_they_are_of_the_standard_module() -> None:
    output = python("""
        import manyhands
        manyhands.install()
        import pickle, socketserver
        for name in socketserver.__all__:
            kind = getattr(socketserver, name)
            assert kind.__module__ == "socketserver", name
            assert pickle.loads(pickle.dumps(kind)) is kind
    """)
    assert output == ""


def test_a_second_install_does_nothing() -> None:
    output = python("""
        import manyhands
        first = manyhands.install()
        import http.server
        assert manyhands.install() is first
    """)
    assert output == ""


def test_modules_that_were_imported_too_early_are_named_in_a_warning_at_the_call() -> None:
    output = python("""
        import http.server, socketserver, sys, types
        user = types.ModuleType("user")
        user.Server = type("Server", (socketserver.TCPServer,), {})
        sys.modules["user"] = user
        import manyhands
        manyhands.install()
        assert http.server.HTTPServer.__mro__[1] is not manyhands.TCPServer
    """)
    warning = (
        "<string>:7: RuntimeWarning: manyhands.install() came too late for __main__, http.server, "
        "user: imported before it, they keep using the standard library's socketserver"
    )
    assert warning in output


def test_a_standard_module_without_a_user_is_no_reason_to_warn() -> None:
    output = python("""
        __import__("socketserver")
        import manyhands
        manyhands.install()
    """)
    assert output == ""


def test_strange_things_among_the_modules_do_no_harm() -> None:
    output = python("""
        import sys, types, importlib.util
        __import__("socketserver")

        class Proxy:
            @property
            def __class__(self):
                raise RuntimeError("not in this context")

        class Lazy(types.ModuleType):
            def __getattribute__(self, name):
                raise RuntimeError("woken")

        user = types.ModuleType("user")
        user.proxy = Proxy()
        sys.modules.update(user=user, lazy=Lazy("lazy"), nothing=None, number=5)
        import manyhands
        manyhands.install()
        del sys.modules["lazy"]
    """)
    assert output == ""
