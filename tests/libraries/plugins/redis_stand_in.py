"""For fakeredis' suite: it compares with a Redis on port 6390, for which fakeredis' own server stands in.

That does not know the command INFO, by which the suite asks for the version.
"""

import threading
from collections.abc import Iterator

import pytest
import redis
from fakeredis import TcpFakeServer

_VERSION = "8.0.0"


@pytest.fixture(scope="session", autouse=True)
def _redis_on_port_6390() -> Iterator[None]:
    server = TcpFakeServer(("localhost", 6390), server_type="redis")
    threading.Thread(target=server.serve_forever).start()
    yield
    server.shutdown()
    server.server_close()


redis.Redis.info = lambda _client, *_sections: {"redis_version": _VERSION}  # type: ignore[method-assign]
