"""A program full of mistakes. A type checker must find one in each line that says `wrong`, and no other."""

import socket

from manyhands import Server, StreamRequestHandler, socketserver
from manyhands.config.keywords import ServerOptions

ANY_PORT = "tcp://127.0.0.1:0"


class Echo(StreamRequestHandler):
    def handle(self) -> None:
        self.wfile.write("text, not bytes")  # wrong
        self.rfile.read("4")  # wrong
        self.rfile.readline().encode()  # wrong
        self.server.idle_timeout = "soon"  # wrong
        self.server.shut_down()  # wrong
        self.server.draining()  # wrong
        self.deadlines.idle_timeout = "soon"  # wrong
        self.deadlines.idle = 5  # wrong
        self.wfil.write(b"misspelt")  # wrong


class Datagram(socketserver.DatagramRequestHandler):
    def handle(self) -> None:
        self.wfile.write("text")  # wrong
        self.packet.encode()  # wrong
        self.socket.send_to(b"", self.client_address)  # wrong


# Keywords.
Server(Echo, ANY_PORT, max_conections=10)  # wrong
Server(Echo, ANY_PORT, idle_timeout="60")  # wrong
Server(Echo, ANY_PORT, max_connections=2.5)  # wrong
Server(Echo, ANY_PORT, max_children=None)  # wrong
Server(Echo, ANY_PORT, engine="fibres")  # wrong
Server(Echo, ANY_PORT, allow=10)  # wrong
Server(Echo, ANY_PORT, workers="many")  # wrong
Server(Echo, ANY_PORT, when_full="drop")  # wrong
Server(Echo, ANY_PORT, refusal=503)  # wrong
Server(Echo, ANY_PORT, certfile=[1])  # wrong
Server(Echo, ANY_PORT, ssl_context="cert.pem")  # wrong
Server(Echo, ANY_PORT, daemon_threads=True)  # wrong
Server(Echo, 8008)  # wrong
options: ServerOptions = {"idle_timout": 5}  # wrong

# Attributes.
server = Server(Echo, ANY_PORT)
server.idle_timeout = "x"  # wrong
server.max_connections = "many"  # wrong
server.max_conections = 10  # wrong
server.drain_timeout = None  # wrong
server.max_threads = 3  # wrong
server.engine = "threads"  # wrong
server.certfile = "cert.pem"  # wrong
server.ssl_context = None  # wrong


# The drop-in.
class Slow(socketserver.ThreadingTCPServer):
    max_threads = "many"  # wrong
    idle_timeout = "60"  # wrong
    engine = 5  # wrong
    daemon_threads = None  # wrong


slow = Slow(("127.0.0.1", "8008"), Echo)  # wrong
Slow("127.0.0.1:8008", Echo)  # wrong
Slow(("127.0.0.1", 8008), Echo, bind=False)  # wrong
Slow(("127.0.0.1", 8008), print("handler"))  # wrong
socketserver.UnixStreamServer(("127.0.0.1", 8008), Echo)  # wrong
slow.max_connections = "many"  # wrong
slow.socket.shut_down(socket.SHUT_RD)  # wrong
slow.serve_forever("now")  # wrong
slow.close_request("now")  # wrong
many: str = len(slow.connections)  # wrong
slow.connections["first"].close()  # wrong
slow.connections.close_all()  # wrong
state: str = slow.draining  # wrong
Echo("now", None, slow)  # wrong
