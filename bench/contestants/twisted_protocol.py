"""Twisted: a Protocol, or a LineReceiver, on an endpoint. TCP_NODELAY is not set."""

import sys

from twisted.internet import endpoints, protocol, reactor
from twisted.protocols.basic import LineOnlyReceiver


class Echo(protocol.Protocol):
    def dataReceived(self, data):  # noqa: N802 - Twisted's name
        self.transport.write(data)


class EchoLines(LineOnlyReceiver):
    delimiter = b"\n"

    def lineReceived(self, line):  # noqa: N802 - Twisted's name
        self.sendLine(line)


class EchoDatagrams(protocol.DatagramProtocol):
    def datagramReceived(self, data, address):  # noqa: N802 - Twisted's name
        self.transport.write(data, address)


def announce(port):
    print(port.getHost().port, flush=True)


def main(service):
    if service == "udp":
        announce(reactor.listenUDP(0, EchoDatagrams(), interface="127.0.0.1"))
    else:
        factory = protocol.Factory.forProtocol({"echo": Echo, "lines": EchoLines}[service])
        endpoint = endpoints.TCP4ServerEndpoint(reactor, 0, backlog=1024, interface="127.0.0.1")
        endpoint.listen(factory).addCallback(announce)
    reactor.run()


if __name__ == "__main__":
    main(sys.argv[1])
