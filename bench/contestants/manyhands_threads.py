"""manyhands on threads: the drop-in's ThreadingTCPServer. TCP_NODELAY is not set."""

import sys

import manyhands_server
from handlers import serve

from manyhands import socketserver

if __name__ == "__main__":
    if sys.argv[1] in manyhands_server.ON_SERVER:
        manyhands_server.serve(sys.argv[1], "threads")
    else:
        serve(socketserver, socketserver.ThreadingTCPServer, socketserver.ThreadingUDPServer)
