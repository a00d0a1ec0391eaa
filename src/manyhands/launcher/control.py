"""The control sockets of a program: opened when its first server begins to serve."""

import os
import sys
from collections.abc import Callable

from manyhands.launcher.environment import ControlPlaces
from manyhands.listening.bind import sentence_of
from manyhands.model.usage_errors import Mistake
from manyhands.runtime.error_reports import say


class ControlOpening:
    """Opens them: what `serving.serve_loops.process_watch` calls.

    A forked copy of the process has none, and neither have children of `multiprocessing`: they work for a
    process that may have one.

    Parameters
    ----------
    where
        Where they are to be.
    """

    def __init__(self, where: ControlPlaces) -> None:
        self._where = where
        self._process = os.getpid()

    def __call__(self, server: object) -> Callable[[], object]:
        """Have a server asked about; return what ends that."""
        if os.getpid() != self._process or _is_of_multiprocessing():
            return _nothing
        # Not at the top: most processes of a program serve nothing.
        from manyhands.control.sockets import control_sockets, program  # noqa: PLC0415
        from manyhands.serving.controls import controls_of  # noqa: PLC0415

        control_sockets.name = " ".join(["run", *program(), *sys.argv[1:2]])
        try:
            return control_sockets.enter(controls_of(server), *self._where)
        except (OSError, RuntimeError, Mistake) as error:
            # The program has not asked for it, and serves all the same.
            why = sentence_of(error) if isinstance(error, OSError) else str(error)
            say(f"manyhands: no control socket: {why}\n")
            return _nothing


def _nothing() -> None:
    pass


def _is_of_multiprocessing() -> bool:
    process = sys.modules.get("multiprocessing.process")
    return process is not None and process.parent_process() is not None
