"""manyhands on processes: the drop-in's ForkingTCPServer. TCP_NODELAY is not set."""

from handlers import serve

from manyhands import socketserver


class Forking(socketserver.ForkingTCPServer):
    """With more children than the 40 that are its default."""

    max_children = 2000


if __name__ == "__main__":
    serve(socketserver, Forking, socketserver.ForkingUDPServer)
