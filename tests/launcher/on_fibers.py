"""An unmodified program of threads that `manyhands run --engine fibers` runs, and talking with it."""

import socket

from tests.support import Program, ask, call

from .launch import RUN

ON_FIBERS = (*RUN, "--engine", "fibers")


SERVER = """
import os, signal, socketserver, sys, threading, time

seen = threading.local()

class Handler(socketserver.StreamRequestHandler):
    def handle(self):
        for line in self.rfile:
            self.wfile.write(self.answer(line.decode().strip()).encode() + b"\\n")

    def answer(self, word):
        return getattr(self, word, lambda: word)()

    def name(self):
        return threading.current_thread().name

    def count(self):
        seen.count = getattr(seen, "count", 0) + 1
        return str(seen.count)

    def socket(self):
        return type(self.request).__name__

    def sleep(self):
        time.sleep(60)
        return "slept"

    def interrupt(self):
        os.kill(os.getpid(), signal.SIGINT)
        return "never said"

    def terminate(self):
        os.kill(os.getpid(), signal.SIGTERM)
        return "never said"

    def leave(self):
        sys.exit(5)

    def stop(self):
        self.server.shutdown()
        return "stopped"

    def compute(self):
        began = time.monotonic()
        while time.monotonic() - began < 0.5:
            pass
        return "computed"

    def fork(self):
        pid = os.fork()
        if pid == 0:
            time.sleep(0.1)
            os._exit(7)
        return str(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))

    def careless(self):
        pid = os.fork()
        if pid == 0:
            sys.exit(5)
        Handler.status = os.waitpid(pid, 0)[1]
        return "reaped"

    def ended(self):
        return str(getattr(Handler, "status", None))

def main(kind):
    with getattr(socketserver, kind)(("127.0.0.1", 0), Handler) as server:
        server.daemon_threads = True
        print(server.server_address[1], flush=True)
        {serve}
    print("over", flush=True)

if __name__ == "__main__":
    {before}
    main(sys.argv[1])
"""


KINDS = ["TCPServer", "ThreadingTCPServer", "ForkingTCPServer"]


class Serving:
    """A program on fibers that serves."""

    def __init__(self, program: Program) -> None:
        self.program = program
        self.address = ("127.0.0.1", int(program.line()))

    def says(self, word: str) -> str:
        return ask(self.address, f"{word}\n".encode()).decode().strip()

    def conversation(self) -> socket.socket:
        """Call, and wait until a handler is there."""
        peer = call(self.address)
        assert tell(peer, "hello") == "hello"
        return peer


def tell(peer: socket.socket, word: str) -> str:
    peer.sendall(f"{word}\n".encode())
    return peer.recv(100).decode().strip()


PATCHED = "import socket; print(socket.socket.__module__)"
