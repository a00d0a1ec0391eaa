"""Handlers as socketserver's own examples have them; they run on whichever module's servers are given."""

import json
import sys

from secret import context
from stopping import time_stops
from telling import tell_what_datagrams_say, telling


def handlers(module):
    """Return the handler of each service, on a module's own base classes."""

    class Echo(module.BaseRequestHandler):
        def handle(self):
            while data := self.request.recv(65536):
                self.request.sendall(data)

    class EchoHalves(module.BaseRequestHandler):
        def handle(self):
            while data := self.request.recv(65536):
                self.request.sendall(data[: len(data) // 2])
                self.request.sendall(data[len(data) // 2 :])

    class EchoLines(module.StreamRequestHandler):
        def handle(self):
            for line in self.rfile:
                self.wfile.write(line)

    class EchoDatagrams(module.BaseRequestHandler):
        def handle(self):
            data, connection = self.request
            connection.sendto(data, self.client_address)

    return {
        "echo": Echo,
        "tell": telling(module),
        "tell-stalled": telling(module),
        "tell-program": telling(module),
        "tls": Echo,
        "halves": EchoHalves,
        "lines": EchoLines,
        "udp": EchoDatagrams,
    }


def serve_in_turn(module):
    """Serve what the command line names, one client after the other, for ever."""
    service = sys.argv[1]
    is_datagrams = service.endswith("udp")

    class Server(module.UDPServer if is_datagrams else module.TCPServer):
        request_queue_size = 1024

    with Server(("127.0.0.1", 0), handlers(module)["udp" if is_datagrams else "echo"]) as server:
        print(server.server_address[1], flush=True)
        if service.startswith("in-turn"):
            server.serve_forever()
        while True:
            server.handle_request()


def serve(module, stream_server, datagram_server):
    """Serve what the command line names, for ever; ``stop TIMES CLIENTS`` times how long it takes to stop."""
    service = sys.argv[1]
    if service == "stop":
        times, clients = map(int, sys.argv[2:])
        print(json.dumps(time_stops(stream_server, handlers(module)["echo"], times, clients)))
        return
    base = datagram_server if service == "udp" else stream_server

    class Server(base):
        request_queue_size = 1024

    with Server(("127.0.0.1", 0), handlers(module)[service]) as server:
        if service == "tls":
            server.socket = context().wrap_socket(server.socket, server_side=True)
        if service == "tell-program":
            tell_what_datagrams_say(server)
        print(server.server_address[1], flush=True)
        server.serve_forever()
