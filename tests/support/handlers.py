"""A module of handlers, for commands that are given the name of one."""

import textwrap
from pathlib import Path

HANDLERS = """
    import os, time
    from manyhands import DatagramRequestHandler, StreamRequestHandler

    class Echo(StreamRequestHandler):
        def handle(self):
            for line in self.rfile:
                self.wfile.write(line)

    class Busy(StreamRequestHandler):
        def handle(self):
            self.wfile.write(b"%d\\n" % os.getpid())
            line = self.rfile.readline()
            self.wfile.write(b"finished " + line)

    class Stubborn(StreamRequestHandler):
        def handle(self):
            self.wfile.write(b"%d\\n" % os.getpid())
            time.sleep(3600)

    class Shout(DatagramRequestHandler):
        def handle(self):
            self.wfile.write(self.packet.upper())

    def function(request, client_address, server):
        request.sendall(b"by a function")

    class Nested:
        class Echo(Echo):
            pass
"""

PLAIN = HANDLERS.replace("from manyhands import", "from socketserver import")
"""The same in a program that has not changed its import."""


def write_handlers(folder: Path) -> None:
    """Write `handlers.py`, and `plain.py` with the same, into a folder."""
    (folder / "handlers.py").write_text(textwrap.dedent(HANDLERS), encoding="utf-8")
    (folder / "plain.py").write_text(textwrap.dedent(PLAIN), encoding="utf-8")
