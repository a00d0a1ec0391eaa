"""Echo: sends each line back. The smallest server there is.

manyhands serve examples/echo.py:Echo --bind tcp://127.0.0.1:8008
"""

from manyhands import StreamRequestHandler, ThreadingTCPServer


class Echo(StreamRequestHandler):
    """Serves one client; each client has a thread of its own."""

    def handle(self) -> None:
        for line in self.rfile:
            self.wfile.write(line)


if __name__ == "__main__":
    with ThreadingTCPServer(("127.0.0.1", 8008), Echo) as server:
        print("echo on {}:{}".format(*server.server_address), flush=True)
        server.serve_forever()
