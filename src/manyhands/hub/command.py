"""How the process of the hub is started, by whoever supervises the workers."""

import os
import socket
import sys
from pathlib import Path
from typing import NamedTuple

from manyhands.runtime.sockets import unix_socket

BACKLOG = 1024
"""Workers that connect while there is no hub: as many as a hub takes."""


class HubCommand(NamedTuple):
    """How to start the process: the arguments of `subprocess.Popen` of these names.

    Attributes
    ----------
    argv : list of str
        The command; its first word is the file.
    env : dict
        Its environment.
    pass_fds : tuple of int
        The descriptors that it inherits.
    """

    argv: list[str]
    env: dict[str, str]
    pass_fds: tuple[int, ...]


def hub_listener() -> socket.socket:
    """Return the socket on which workers reach the hub. Linux only.

    Whoever starts the hub holds it: a hub that is started anew listens at the same address, and workers that
    come while there is none wait. The system chooses an abstract name (unix(7), autobind): see
    `getsockname`. Only processes of the same user get on.

    Raises
    ------
    OSError
        When there is no descriptor for it.
    """
    listener = unix_socket(socket.SOCK_STREAM)
    try:
        listener.bind("")
        listener.listen(BACKLOG)
    except OSError:
        listener.close()
        raise
    return listener


def hub_command(listener: socket.socket) -> HubCommand:
    """Return how to start the hub as a child of this process.

    It ends by itself when this process has gone, and when it gets SIGTERM, once the last worker has left it.
    """
    # Without `site`: it needs no package but this one, which an environment's own folders may hold.
    root = str(Path(__file__).parents[2])
    descriptor = listener.fileno()
    module = "manyhands.hub.process"
    argv = [sys.executable, "-S", "-P", "-m", module, str(descriptor), str(os.getpid())]
    return HubCommand(argv, {**os.environ, "PYTHONPATH": root}, (descriptor,))
