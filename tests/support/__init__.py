"""What the tests share: servers that run, peers that call, processes, and waiting for conditions."""

from manyhands.testing import ask, call, everything, hear, read_line, reset, wait_until
from manyhands.testing import running as serving

from .certificates import Authority, replace
from .copies import forked
from .handlers import write_handlers
from .peers import is_closed_by_server, is_listening
from .programs import Program, python, run_python
from .running import ENGINES, Echo, answering, bound, open_descriptors, server_class
from .service_manager import ServiceManager
from .tls import ask_secretly, host_names_shown, secured, shake_hands, shown

__all__ = [
    "ENGINES",
    "Authority",
    "Echo",
    "Program",
    "ServiceManager",
    "answering",
    "ask",
    "ask_secretly",
    "bound",
    "call",
    "everything",
    "forked",
    "hear",
    "host_names_shown",
    "is_closed_by_server",
    "is_listening",
    "open_descriptors",
    "python",
    "read_line",
    "replace",
    "reset",
    "run_python",
    "secured",
    "server_class",
    "serving",
    "shake_hands",
    "shown",
    "wait_until",
    "write_handlers",
]
