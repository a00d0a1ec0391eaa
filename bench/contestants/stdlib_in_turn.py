"""The standard library's TCPServer and UDPServer: one client after the other."""

import socketserver

from handlers import serve_in_turn

if __name__ == "__main__":
    serve_in_turn(socketserver)
