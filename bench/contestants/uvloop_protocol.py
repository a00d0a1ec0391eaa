"""uvloop, with the Protocol of asyncio. uvloop itself sets TCP_NODELAY."""

import sys

import uvloop
from asyncio_protocol import SERVICES

if __name__ == "__main__":
    uvloop.run(SERVICES[sys.argv[1]]())
