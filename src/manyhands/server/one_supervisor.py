"""One server with workers in a process: its workers are copies of the process, or the program started anew.

The copies would hold what belongs to a second one, such as its listeners, and a program that is started once
more could not tell for which of them that is.
"""

import os
import weakref
from typing import Protocol

from manyhands.model.usage_errors import Mistake
from manyhands.runtime.caller import is_main_thread
from manyhands.workers.role import template_of_program


class Supervising(Protocol):
    """What supervises the workers of a server."""


_by_process: "dict[int, weakref.ref[Supervising]]" = {}
"""What supervises in a process, by its number: a forked copy may have one of its own."""


def claim(sockets: Supervising) -> None:
    """Be what supervises in this process, until `release`.

    Raises
    ------
    Mistake
        When there is another one.
    """
    own = weakref.ref(sockets)
    # One step: of two threads one is the first.
    first = _by_process.setdefault(os.getpid(), own)
    if first() is None:
        first = _by_process[os.getpid()] = own
    if first() is not sockets:
        raise Mistake(
            "this process has a server with workers already: give that one further addresses, or start "
            "another process for this one"
        )


def release(sockets: Supervising) -> None:
    """Leave the process to the next one."""
    held = _by_process.get(os.getpid())
    if held is not None and held() is sockets:
        del _by_process[os.getpid()]


def refuse_under_run(*, has_workers: bool, is_purpose: bool = False) -> None:
    """End a program under `manyhands run --workers` that is about to serve by a `manyhands.Server`.

    Its supervisor would wait in vain: it has workers for the drop-in's classes alone. In another thread, or
    by `start`, a server without workers may serve something beside those.
    """
    if not (has_workers or (is_purpose and is_main_thread())):
        return
    template = template_of_program()
    if template is not None:
        advice = "run it" if has_workers else "give that workers=N, and run it"
        template.refuse(
            f"the program serves by manyhands.Server, which has workers of its own: {advice} without "
            "manyhands run --workers"
        )
