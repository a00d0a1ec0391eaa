"""Processes of the library's own, started without the program's fork hooks and what gevent patches."""

import os
import signal
from collections.abc import Iterable, Mapping, Sequence


def spawn(
    command: Sequence[str],
    environment: Mapping[str, str],
    inherited: Iterable[int],
    *,
    signals_wait: bool = False,
) -> int:
    """Start a process without standard input; return its id, by which the caller waits for it.

    Parameters
    ----------
    command
        The file, and its arguments; the first word is the path of the file.
    environment
        Its whole environment.
    inherited
        The descriptors that it inherits, under the same numbers.
    signals_wait
        Whether it begins with all signals blocked, for a program that lets them in once it has its handlers.

    Raises
    ------
    OSError
        When there is no such file, or no process to be had.
    """
    actions: list[tuple[object, ...]] = [
        (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
        # Onto itself: that is inherited then, and by no process that another thread starts just now
        # (posix_spawn_file_actions_adddup2(3)).
        *((os.POSIX_SPAWN_DUP2, each, each) for each in inherited),
    ]
    return os.posix_spawn(
        command[0],
        list(command),
        environment,
        file_actions=actions,
        # As `subprocess` has it: Python itself ignores these, and other programs need not.
        setsigdef=[signal.SIGPIPE, signal.SIGXFSZ],
        setsigmask=signal.valid_signals() if signals_wait else [],
    )
