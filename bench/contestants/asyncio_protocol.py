"""asyncio, with a Protocol: bytes come as calls. asyncio itself sets TCP_NODELAY."""

import asyncio
import sys

from secret import context


class Echo(asyncio.Protocol):
    def connection_made(self, transport):
        self.transport = transport

    def data_received(self, data):
        self.transport.write(data)


class EchoHalves(Echo):
    def data_received(self, data):
        self.transport.write(data[: len(data) // 2])
        self.transport.write(data[len(data) // 2 :])


class EchoDatagrams(asyncio.DatagramProtocol):
    def connection_made(self, transport):
        self.transport = transport

    def datagram_received(self, data, addr):
        self.transport.sendto(data, addr)


async def serve_stream(protocol, **tls):
    loop = asyncio.get_running_loop()
    server = await loop.create_server(protocol, "127.0.0.1", 0, backlog=1024, **tls)
    print(server.sockets[0].getsockname()[1], flush=True)
    async with server:
        await server.serve_forever()


async def serve_udp():
    loop = asyncio.get_running_loop()
    transport, _ = await loop.create_datagram_endpoint(EchoDatagrams, local_addr=("127.0.0.1", 0))
    print(transport.get_extra_info("sockname")[1], flush=True)
    await asyncio.Event().wait()


SERVICES = {
    "echo": lambda: serve_stream(Echo),
    "halves": lambda: serve_stream(EchoHalves),
    "tls": lambda: serve_stream(Echo, ssl=context()),
    "udp": serve_udp,
}

if __name__ == "__main__":
    asyncio.run(SERVICES[sys.argv[1]]())
