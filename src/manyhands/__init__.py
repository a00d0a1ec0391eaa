"""manyhands serves many clients at the same time with plain, blocking handler code.

It is the standard library's `socketserver` grown up: the same words, hooks and handler classes. The drop-in
is `manyhands.socketserver`; `install` puts it in the standard module's place; `Server` serves several
addresses, with signals and drain.
"""

import sys
from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from manyhands._version import __version__
    from manyhands.dropin.framed_handler import FramedRequestHandler
    from manyhands.dropin.prompts import ask
    from manyhands.dropin.starttls import upgrade_to_tls
    from manyhands.exchange.exchange import Exchange, NoAnswer
    from manyhands.exchange.subscription import FellBehind
    from manyhands.installation import install
    from manyhands.model import events
    from manyhands.model.connection_states import Reason
    from manyhands.model.usage_errors import Mistake
    from manyhands.runtime.blocking_calls import blocking
    from manyhands.server import Server
    from manyhands.serving.info import ServerInfo
    from manyhands.socketserver import *  # noqa: F403 - the drop-in's public names are ours
    from manyhands.socketserver import (
        FiberMixIn,
        FiberTCPServer,
        FiberUDPServer,
        FiberUnixDatagramServer,
        FiberUnixStreamServer,
    )

__all__ = [  # noqa: F405 - of the drop-in
    "BaseRequestHandler",
    "BaseServer",
    "DatagramRequestHandler",
    "Exchange",
    "FellBehind",
    "FiberMixIn",
    "FiberTCPServer",
    "FiberUDPServer",
    "FiberUnixDatagramServer",
    "FiberUnixStreamServer",
    "ForkingMixIn",
    "ForkingTCPServer",
    "ForkingUDPServer",
    "FramedRequestHandler",
    "Mistake",
    "NoAnswer",
    "Reason",
    "Server",
    "ServerInfo",
    "StreamRequestHandler",
    "TCPServer",
    "ThreadingMixIn",
    "ThreadingTCPServer",
    "ThreadingUDPServer",
    "ThreadingUnixDatagramServer",
    "ThreadingUnixStreamServer",
    "UDPServer",
    "UnixDatagramServer",
    "UnixStreamServer",
    "__version__",
    "ask",
    "blocking",
    "events",
    "install",
    "upgrade_to_tls",
]

if sys.version_info >= (3, 12):  # as in the drop-in, and in the standard library
    __all__ += ["ForkingUnixDatagramServer", "ForkingUnixStreamServer"]  # noqa: F405

_MODULES = {"events": ".model.events", "socketserver": ".socketserver"}

_HOMES = {
    "Exchange": ".exchange.exchange",
    "FellBehind": ".exchange.subscription",
    "FramedRequestHandler": ".dropin.framed_handler",
    "Mistake": ".model.usage_errors",
    "NoAnswer": ".exchange.exchange",
    "Reason": ".model.connection_states",
    "Server": ".server",
    "ServerInfo": ".serving.info",
    "__version__": "._version",
    "ask": ".dropin.prompts",
    "blocking": ".runtime.blocking_calls",
    "install": ".installation",
    "upgrade_to_tls": ".dropin.starttls",
}
"""The modules of the public names that are not the drop-in's."""


def __getattr__(name: str) -> object:
    # Nothing is imported before it is asked for: a command, or a program that needs one name alone, pays for
    # what it uses (PEP 562).
    if name in _MODULES:
        found: object = import_module(_MODULES[name], __name__)
    elif name in __all__:
        found = getattr(import_module(_HOMES.get(name, ".socketserver"), __name__), name)
    else:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    globals()[name] = found  # so that the next look-up does not come here
    return found


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
