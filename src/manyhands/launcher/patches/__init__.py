"""What `gevent.monkey` leaves of a program's waits, mended one by one: `manyhands run --engine fibers`."""

from manyhands.launcher.patches.calls import patch_calls
from manyhands.launcher.patches.console import patch_console
from manyhands.launcher.patches.files import patch_files
from manyhands.launcher.patches.own_sockets import patch_own_sockets
from manyhands.launcher.patches.selecting import patch_selecting
from manyhands.launcher.patches.sqlite import patch_sqlite
from manyhands.launcher.patches.system_locks import patch_system_locks
from manyhands.runtime.main_code import raise_in_main_code


def patch_what_is_left() -> None:
    """Have what else waits, or is particular to threads, do in fibers what it does in threads."""
    raise_in_main_code(alone=True)
    patch_selecting()
    patch_own_sockets()
    patch_files()
    patch_console()
    patch_calls()
    patch_system_locks()
    patch_sqlite()
