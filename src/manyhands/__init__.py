"""manyhands serves many clients at the same time with plain, blocking handler code.

It is the standard library's `socketserver` grown up: the same words, hooks and handler classes. The drop-in
is `manyhands.socketserver`; `install` puts it in the standard module's place; `Server` serves several
addresses, with signals and drain.
"""

from importlib import import_module
from typing import TYPE_CHECKING

from ._version import __version__
from .rules import events
from .rules.mistakes import Mistake
from .rules.reasons import Reason
from .socketserver import *  # noqa: F403 - the drop-in's public names are ours
from .socketserver import __all__ as _drop_in

if TYPE_CHECKING:
    from .blocking_calls import blocking
    from .fibers import (
        FiberMixIn,
        FiberTCPServer,
        FiberUDPServer,
        FiberUnixDatagramServer,
        FiberUnixStreamServer,
    )
    from .framed_handler import FramedRequestHandler
    from .installation import install
    from .prompts import ask
    from .server import Server
    from .starttls import upgrade_to_tls

__all__ = [  # noqa: PLE0604 - names, all of them
    "FiberMixIn",
    "FiberTCPServer",
    "FiberUDPServer",
    "FiberUnixDatagramServer",
    "FiberUnixStreamServer",
    "FramedRequestHandler",
    "Mistake",
    "Reason",
    "Server",
    "__version__",
    "ask",
    "blocking",
    "events",
    "install",
    "upgrade_to_tls",
    *_drop_in,
]

# A program that only changes its import should pay for the drop-in alone.
_ON_DEMAND = {
    "FiberMixIn": ".fibers",
    "FiberTCPServer": ".fibers",
    "FiberUDPServer": ".fibers",
    "FiberUnixDatagramServer": ".fibers",
    "FiberUnixStreamServer": ".fibers",
    "FramedRequestHandler": ".framed_handler",
    "Server": ".server",
    "ask": ".prompts",
    "blocking": ".blocking_calls",
    "install": ".installation",
    "upgrade_to_tls": ".starttls",
}


def __getattr__(name: str) -> object:
    if name not in _ON_DEMAND:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_ON_DEMAND[name], __name__), name)
