"""The standard library's ThreadingTCPServer: a thread for each connection. TCP_NODELAY is not set."""

import socketserver

from handlers import serve

if __name__ == "__main__":
    serve(socketserver, socketserver.ThreadingTCPServer, socketserver.ThreadingUDPServer)
