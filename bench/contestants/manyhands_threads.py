"""manyhands on threads: the drop-in's ThreadingTCPServer. TCP_NODELAY is not set."""

from handlers import serve

from manyhands import socketserver

if __name__ == "__main__":
    serve(socketserver, socketserver.ThreadingTCPServer, socketserver.ThreadingUDPServer)
