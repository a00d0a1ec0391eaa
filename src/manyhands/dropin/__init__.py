"""The server classes: the connection loop, and the hooks that a connection travels through.

::

    serve_forever -> _handle_request_noblock -> get_request -> verify_request -> process_request
      -> (engine) -> process_request_thread -> finish_request -> RequestHandlerClass(...)
      -> shutdown_request -> close_request

Each name is looked up on `self` at every step, so a subclass can override any of them.
"""

from manyhands.dropin.base import BaseServer
from manyhands.dropin.mixins import FiberMixIn, ForkingMixIn, ThreadingMixIn
from manyhands.dropin.tcp import TCPServer, UDPServer

__all__ = ["BaseServer", "FiberMixIn", "ForkingMixIn", "TCPServer", "ThreadingMixIn", "UDPServer"]
