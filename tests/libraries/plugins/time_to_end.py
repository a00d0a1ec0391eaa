"""For pynetdicom's suite: it takes for granted that its threads have ended when `shutdown` returns.

Nothing waits for them. The standard library's `shutdown` lasts until its loop looks up, every half second,
and in that time they happen to end; ours returns in milliseconds.
"""

import socketserver
import threading

_shutdown = socketserver.BaseServer.shutdown


def _shutdown_and_wait(server: socketserver.BaseServer) -> None:
    _shutdown(server)
    for thread in threading.enumerate():
        if thread.name.startswith("AcceptorThread"):
            thread.join(0.5)


# Not pynetdicom's class, which its tests reload.
socketserver.BaseServer.shutdown = _shutdown_and_wait  # type: ignore[method-assign]  # the point of this
