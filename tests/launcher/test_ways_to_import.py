"""Programs import `socketserver` in ways of their own: lazily, as a copy, by `runpy`; and read its source.

Each way gives with ours what it gives with the standard library, under `manyhands run` and after `install()`.
"""

from pathlib import Path

import pytest

from manyhands import socketserver

from .launch import RUN, python, write

OURS = socketserver.BaseServer.serve_forever.__code__.co_filename

# The recipe in the documentation of importlib, and the two ways in which programs make all imports lazy.
LAZY = """
import importlib.util, sys
def lazy_import(name):
    spec = importlib.util.find_spec(name)
    loader = importlib.util.LazyLoader(spec.loader)
    spec.loader = loader
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    loader.exec_module(module)
    return module
"""

ALL_LAZY = """
import importlib.util, sys
class LazyFinder:
    def __init__(self, finder):
        self._finder = finder
    def find_spec(self, name, path=None, target=None):
        spec = self._finder.find_spec(name, path, target)
        if name in EAGER or not name.startswith(LAZY_NAMES):
            return spec
        if spec is not None and hasattr(spec.loader, "exec_module"):
            spec.loader = importlib.util.LazyLoader(spec.loader)
        return spec
sys.meta_path[:] = [LazyFinder(finder) for finder in sys.meta_path]
"""

SERVE = """
import socket
class Echo(socketserver.StreamRequestHandler):
    def handle(self):
        self.wfile.write(self.rfile.readline())
with socketserver.TCPServer(("127.0.0.1", 0), Echo) as server:
    client = socket.create_connection(server.server_address)
    client.sendall(b"line\\n")
    server.handle_request()
    print(client.recv(100))
"""

WAYS = {
    "by the recipe": LAZY
    + """
socketserver = lazy_import("socketserver")
print("selectors" in sys.modules)
import http.server
print(socketserver.TCPServer, issubclass(http.server.HTTPServer, socketserver.TCPServer))
"""
    + SERVE,
    "by a finder for all modules": "import collections.abc, threading\nEAGER, LAZY_NAMES = (), ('',)\n"
    + ALL_LAZY
    + "import socketserver\nprint(socketserver.TCPServer, socketserver.__name__)\n"
    + SERVE,
    "by a finder for this one": "EAGER, LAZY_NAMES = (), ('socketserver',)\n"
    + ALL_LAZY
    + "import http.server, socketserver\nprint(http.server.HTTPServer.__mro__[1])\n"
    + SERVE,
    "again": """
import importlib, socketserver
before = dict(vars(socketserver))
assert importlib.reload(socketserver) is socketserver
print(socketserver.ThreadingTCPServer, sorted(before) == sorted(vars(socketserver)))
"""
    + SERVE,
    "after it was forgotten": """
import sys, socketserver
first = socketserver
del sys.modules["socketserver"]
import socketserver
print(socketserver is first, sys.modules["socketserver"] is socketserver, socketserver.UDPServer)
"""
    + SERVE,
    "as a private copy": """
import importlib.util, sys
spec = importlib.util.find_spec("socketserver")
socketserver = importlib.util.module_from_spec(spec)
spec.loader.exec_module(socketserver)
socketserver.extra = 1
print(socketserver.TCPServer, socketserver.__name__, socketserver.__spec__ is spec)
import socketserver as public
print(hasattr(public, "extra"))
"""
    + SERVE,
    "by runpy": """
import runpy
class socketserver: pass
names = runpy.run_module("socketserver", run_name="given")
vars_of = {name: value for name, value in names.items() if not name.startswith("__")}
print(names["__name__"], sorted(names["__all__"]))
for name, value in vars_of.items(): setattr(socketserver, name, value)
"""
    + SERVE,
    "by its specification": """
import importlib.util, pkgutil
spec = importlib.util.find_spec("socketserver")
print(spec.name, spec.origin is not None, spec.has_location, type(spec.loader).__name__, spec.parent)
print(spec.loader.is_package("socketserver"), "TCPServer" in spec.loader.get_source("socketserver"))
print(type(spec.loader.get_code("socketserver")), "TCPServer" in spec.loader.get_data(spec.origin).decode())
import socketserver
print(socketserver.__spec__.name, socketserver.__name__, socketserver.__package__)
print(type(socketserver.__loader__).__name__, socketserver.__loader__ is socketserver.__spec__.loader)
print(importlib.util.find_spec("socketserver") is socketserver.__spec__)
"""
    + SERVE,
    "to read it": """
import inspect, pydoc, socketserver
print("__all__ = [" in inspect.getsource(socketserver), inspect.getmodule(socketserver.TCPServer).__name__)
for name in socketserver.__all__:
    kind = getattr(socketserver, name)
    assert f"class {name}" in "".join(inspect.getsourcelines(kind)[0][:2]), name
    assert inspect.getmodule(kind) is socketserver and inspect.getsourcefile(kind) == socketserver.__file__
print("def server_bind" in inspect.getsource(socketserver.TCPServer.server_bind))
print("class TCPServer" in pydoc.plain(pydoc.render_doc(socketserver)))
""",
    "to pickle it": """
import copy, pickle, socketserver
for name in sorted(socketserver.__all__):
    kind = getattr(socketserver, name)
    assert pickle.loads(pickle.dumps(kind)) is kind and copy.copy(kind) is kind
    print(repr(kind))
""",
    "by its name": """
import importlib
socketserver = importlib.import_module("socketserver")
assert __import__("socketserver") is socketserver
from importlib import util
print(sorted(set(vars(socketserver)) & {"__name__", "__doc__", "__spec__", "__file__", "__cached__"}))
"""
    + SERVE,
}

IS_OURS = "\nimport socketserver as s\nprint(s.BaseServer.serve_forever.__code__.co_filename)\n"


@pytest.mark.parametrize("way", WAYS)
def test_an_import_gives_what_it_gives_with_the_standard_library(way: str, tmp_path: Path) -> None:
    write(tmp_path / "program.py", WAYS[way] + IS_OURS)
    plain = python("program.py", cwd=tmp_path)
    launched = python(*RUN, "program.py", cwd=tmp_path)
    write(tmp_path / "program.py", "import manyhands; manyhands.install()\n" + WAYS[way] + IS_OURS)
    installed = python("program.py", cwd=tmp_path)
    assert plain.status == 0, plain.errors
    expected = [*plain.output.splitlines()[:-1], OURS]
    assert launched.output.splitlines() == expected, launched.errors
    # There the module has been loaded before.
    loaded = [
        "True" if line == "False" and number == 0 else line for number, line in enumerate(expected)
    ]
    assert installed.output.splitlines() in (expected, loaded), installed.errors


def test_options_hold_however_the_module_was_imported(tmp_path: Path) -> None:
    program = """
print(socketserver.ThreadingTCPServer.max_threads)
import importlib
print(importlib.reload(socketserver).ThreadingTCPServer.max_threads)
"""
    write(tmp_path / "program.py", LAZY + "socketserver = lazy_import('socketserver')\n" + program)
    ours = python(*RUN, "--max-threads", "5", "program.py", cwd=tmp_path)
    assert ours.output == "5\n5\n", ours.errors


@pytest.mark.parametrize(
    "way",
    [
        "from manyhands import socketserver",
        "import manyhands as socketserver",
        "import manyhands; manyhands.install(); import socketserver",
        LAZY + "socketserver = lazy_import('manyhands.socketserver')",
    ],
)
def test_options_hold_for_programs_that_use_our_classes_by_our_names(
    way: str, tmp_path: Path
) -> None:
    # Nothing else may import `socketserver` here.
    write(tmp_path / "program.py", way + "\nprint(socketserver.ThreadingTCPServer.max_threads)")
    ours = python(*RUN, "--max-threads", "5", "program.py", cwd=tmp_path)
    assert ours.output == "5\n", ours.errors


def test_a_lazy_import_loads_nothing_before_the_module_is_used(tmp_path: Path) -> None:
    program = LAZY + "lazy_import('socketserver')\nprint(*sys.modules)"
    write(tmp_path / "program.py", program)
    loaded = set(python(*RUN, "program.py", cwd=tmp_path).output.split())
    loaded -= set(python("program.py", cwd=tmp_path).output.split())
    assert "manyhands.runtime.replacement" in loaded
    # A program may want to patch these first.
    assert not loaded & {"threading", "socket", "selectors", "manyhands.socketserver"}


def test_install_does_nothing_where_the_module_is_ours_already(tmp_path: Path) -> None:
    program = """
import socketserver, sys, warnings, http.server
warnings.simplefilter("error")
import manyhands
assert manyhands.install() is socketserver is sys.modules["socketserver"]
"""
    write(tmp_path / "program.py", program)
    ours = python(*RUN, "program.py", cwd=tmp_path)
    assert (ours.status, ours.errors) == (0, "")


GREEN = {
    "its own": "from eventlet.green import SocketServer as socketserver",
    "its web server's": "from eventlet.green.http import server; socketserver = server.socketserver",
    "a patched import": "import eventlet; socketserver = eventlet.import_patched('socketserver')",
}


@pytest.mark.parametrize("way", GREEN)
def test_a_green_copy_of_eventlet_s_is_served_by_the_standard_library(
    way: str, tmp_path: Path
) -> None:
    program = """
import os
from eventlet.green import socket

class Echo(socketserver.StreamRequestHandler):
    def handle(self):
        self.wfile.write(self.rfile.readline())

server = socketserver.ThreadingTCPServer(("127.0.0.1", 0), Echo)
server.daemon_threads = True
# Its loop would hold up all that is green, as eventlet leaves `selectors` alone.
client = socket.create_connection(server.server_address)
client.sendall(b"line\\n")
server.handle_request()
print(client.recv(100), flush=True)
os._exit(0)
"""
    # eventlet says that it is not maintained any more.
    program = f'import warnings; warnings.simplefilter("ignore")\n{GREEN[way]}\n{program}'
    write(tmp_path / "program.py", program)
    write(tmp_path / "installed.py", f"import manyhands; manyhands.install()\n{program}")
    plain = python("program.py", cwd=tmp_path)
    assert (plain.status, plain.output) == (0, "b'line\\n'\n"), plain.errors
    for ours in (python(*RUN, "program.py", cwd=tmp_path), python("installed.py", cwd=tmp_path)):
        assert (ours.status, ours.output) == (0, plain.output), ours.errors
