"""asyncio, with streams: a coroutine for each connection. asyncio itself sets TCP_NODELAY."""

import asyncio
import sys


async def echo(reader, writer):
    while data := await reader.read(65536):
        writer.write(data)
        await writer.drain()
    writer.close()
    await writer.wait_closed()


async def echo_lines(reader, writer):
    while line := await reader.readline():
        writer.write(line)
        await writer.drain()
    writer.close()
    await writer.wait_closed()


SERVICES = {"echo": echo, "lines": echo_lines}


async def main():
    server = await asyncio.start_server(SERVICES[sys.argv[1]], "127.0.0.1", 0, backlog=1024)
    print(server.sockets[0].getsockname()[1], flush=True)
    async with server:
        await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(main())
