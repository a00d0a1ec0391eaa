"""Timing `shutdown` of servers in the manner of socketserver, with clients connected.

A server is stopped at a random moment, since one that polls takes the longer the less time has passed since
it last looked.
"""

import random
import socket
import threading
import time


def stop_once(server, clients):
    """Serve, connect, stop; return the milliseconds that `shutdown` took."""
    serving = threading.Thread(target=server.serve_forever)
    serving.start()
    callers = [socket.create_connection(server.server_address) for _ in range(clients)]
    for caller in callers:
        caller.sendall(b"x")
        assert caller.recv(1) == b"x"
    time.sleep(random.uniform(0, 0.5))
    began = time.perf_counter()
    server.shutdown()
    took = time.perf_counter() - began
    for caller in callers:
        caller.close()
    serving.join()
    server.server_close()
    return took * 1000


def time_stops(server_class, handler, times, clients):
    """Stop so many servers, one after the other; return the milliseconds of each."""
    return [stop_once(server_class(("127.0.0.1", 0), handler), clients) for _ in range(times)]
