"""The drop-in's TCPServer and UDPServer: one client after the other."""

from handlers import serve_in_turn

from manyhands import socketserver

if __name__ == "__main__":
    serve_in_turn(socketserver)
