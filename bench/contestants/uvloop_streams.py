"""uvloop, with the streams of asyncio. uvloop itself sets TCP_NODELAY."""

import uvloop
from asyncio_streams import main

if __name__ == "__main__":
    uvloop.run(main())
