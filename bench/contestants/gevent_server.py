"""gevent's own servers: a greenlet for each connection. TCP_NODELAY is not set."""

import sys

from gevent.server import DatagramServer, StreamServer
from secret import context


def echo(connection, _address):
    while data := connection.recv(65536):
        connection.sendall(data)


def echo_halves(connection, _address):
    while data := connection.recv(65536):
        connection.sendall(data[: len(data) // 2])
        connection.sendall(data[len(data) // 2 :])


def echo_lines(connection, _address):
    with connection.makefile("rb") as lines:
        for line in lines:
            connection.sendall(line)


class EchoDatagrams(DatagramServer):
    def handle(self, data, address):
        self.socket.sendto(data, address)


def server_for(service):
    if service == "udp":
        return EchoDatagrams(("127.0.0.1", 0))
    handle = {"echo": echo, "tls": echo, "halves": echo_halves, "lines": echo_lines}[service]
    tls = {"ssl_context": context()} if service == "tls" else {}
    return StreamServer(("127.0.0.1", 0), handle, backlog=1024, **tls)


if __name__ == "__main__":
    server = server_for(sys.argv[1])
    server.start()
    print(server.server_port, flush=True)
    server.serve_forever()
