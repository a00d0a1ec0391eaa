"""manyhands on fibers: FiberTCPServer, with the same blocking handlers. TCP_NODELAY is not set."""

import sys

import manyhands_server
from handlers import serve

import manyhands
from manyhands import FiberTCPServer, FiberUDPServer

if __name__ == "__main__":
    if sys.argv[1] in manyhands_server.ON_SERVER:
        manyhands_server.serve(sys.argv[1], "fibers")
    else:
        serve(manyhands, FiberTCPServer, FiberUDPServer)
