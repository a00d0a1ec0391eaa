"""The standard library's ThreadingTCPServer under gevent.monkey. TCP_NODELAY is not set."""

from gevent import monkey

monkey.patch_all()

import socketserver  # noqa: E402 - after the patch, as gevent asks

from handlers import serve  # noqa: E402

if __name__ == "__main__":
    serve(socketserver, socketserver.ThreadingTCPServer, socketserver.ThreadingUDPServer)
