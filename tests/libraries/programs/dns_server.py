"""A name server for one name, over UDP and TCP on one port."""

from dnslib import RR
from dnslib.server import BaseResolver, DNSLogger, DNSServer


class Resolver(BaseResolver):
    def resolve(self, request, _handler):
        reply = request.reply()
        reply.add_answer(*RR.fromZone("hands.example. 60 A 192.0.2.8"))
        return reply


logger = DNSLogger("-request,-reply")
tcp = DNSServer(Resolver(), address="127.0.0.1", port=0, tcp=True, logger=logger)
port = tcp.server.server_address[1]
udp = DNSServer(Resolver(), address="127.0.0.1", port=port, logger=logger)
tcp.start_thread()
print(port)
udp.start()
