"""manyhands on fibers: FiberTCPServer, with the same blocking handlers. TCP_NODELAY is not set."""

from handlers import serve

import manyhands
from manyhands import FiberTCPServer, FiberUDPServer

if __name__ == "__main__":
    serve(manyhands, FiberTCPServer, FiberUDPServer)
