"""manyhands serves many clients at the same time with plain, blocking handler code.

It is the standard library's `socketserver` grown up: the same words, hooks and handler classes. The drop-in
is `manyhands.socketserver`; `install` puts it in the standard module's place; `Server` serves several
addresses, with signals and drain.
"""

from importlib import import_module
from typing import TYPE_CHECKING

from manyhands._version import __version__
from manyhands.model.connection_states import Reason
from manyhands.model.usage_errors import Mistake
from manyhands.socketserver import *  # noqa: F403 - the drop-in's public names are ours
from manyhands.socketserver import __all__ as _drop_in

if TYPE_CHECKING:
    from manyhands.dropin.fiber_servers import (
        FiberMixIn,
        FiberTCPServer,
        FiberUDPServer,
        FiberUnixDatagramServer,
        FiberUnixStreamServer,
    )
    from manyhands.dropin.framed_handler import FramedRequestHandler
    from manyhands.dropin.prompts import ask
    from manyhands.dropin.starttls import upgrade_to_tls
    from manyhands.installation import install
    from manyhands.model import events
    from manyhands.runtime.blocking_calls import blocking
    from manyhands.server import Server

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
    "FiberMixIn": ".dropin.fiber_servers",
    "FiberTCPServer": ".dropin.fiber_servers",
    "FiberUDPServer": ".dropin.fiber_servers",
    "FiberUnixDatagramServer": ".dropin.fiber_servers",
    "FiberUnixStreamServer": ".dropin.fiber_servers",
    "FramedRequestHandler": ".dropin.framed_handler",
    "Server": ".server",
    "ask": ".dropin.prompts",
    "blocking": ".runtime.blocking_calls",
    "install": ".installation",
    "upgrade_to_tls": ".dropin.starttls",
}


def __getattr__(name: str) -> object:
    if name == "events":
        return import_module(".model.events", __name__)
    if name not in _ON_DEMAND:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_ON_DEMAND[name], __name__), name)
