"""What the tests share: servers that run, peers that call, processes, and waiting for conditions."""

from manyhands.testing import ask, call, everything, hear, read_line, reset, wait_until
from manyhands.testing import running as serving

from .certificates import Authority, replace
from .copies import forked
from .descriptors import full_pipe, left_open, open_descriptors, wait_for_descriptors
from .handlers import write_handlers
from .peers import is_closed_by_server, is_listening
from .programs import Program, python, run_python
from .running import ENGINES, Echo, answering, bound, server_class
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
    "full_pipe",
    "hear",
    "host_names_shown",
    "is_closed_by_server",
    "is_listening",
    "left_open",
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
    "wait_for_descriptors",
    "wait_until",
    "write_handlers",
]
