"""trio: a task for each connection. trio itself sets TCP_NODELAY."""

import sys

import trio


async def echo(stream):
    async for data in stream:
        await stream.send_all(data)


async def serve_echo():
    [listener] = await trio.open_tcp_listeners(0, host="127.0.0.1", backlog=1024)
    print(listener.socket.getsockname()[1], flush=True)
    await trio.serve_listeners(echo, [listener])


async def serve_udp():
    with trio.socket.socket(trio.socket.AF_INET, trio.socket.SOCK_DGRAM) as endpoint:
        await endpoint.bind(("127.0.0.1", 0))
        print(endpoint.getsockname()[1], flush=True)
        while True:
            data, address = await endpoint.recvfrom(65536)
            await endpoint.sendto(data, address)


SERVICES = {"echo": serve_echo, "udp": serve_udp}

if __name__ == "__main__":
    trio.run(SERVICES[sys.argv[1]])
