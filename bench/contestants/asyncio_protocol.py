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


TOLD = {}


class Told(Echo):
    def data_received(self, data):
        if self in TOLD:
            for transport in TOLD.values():
                transport.write(data)
            return
        TOLD[self] = self.transport
        if data == b"\0deaf":
            while not self.transport.get_write_buffer_size():
                self.transport.write(bytes(65536))
        self.transport.write(data)

    def connection_lost(self, _):
        TOLD.pop(self, None)


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
    "tell": lambda: serve_stream(Told),
    "tell-stalled": lambda: serve_stream(Told),
    "udp": serve_udp,
}

if __name__ == "__main__":
    asyncio.run(SERVICES[sys.argv[1]]())
