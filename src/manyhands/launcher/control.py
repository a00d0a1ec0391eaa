"""The control sockets of a program: opened when its first server begins to serve."""

import os
import sys
from collections.abc import Callable

from manyhands.launcher.environment import ASKED_ABOVE, ControlPlaces
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
        is_another = os.getpid() != self._process or _is_of_multiprocessing()
        if is_another or self._where == ASKED_ABOVE:
            return _nothing
        # Not at the top: most processes of a program serve nothing.
        from manyhands.control.own_name import own_name, program  # noqa: PLC0415
        from manyhands.control.sockets import control_sockets  # noqa: PLC0415
        from manyhands.serving.controls import controls_of  # noqa: PLC0415

        own_name.given = " ".join(["run", *program(), *sys.argv[1:2]])
        try:
            return control_sockets.enter(controls_of(server), *self._where)
        except (OSError, RuntimeError, Mistake) as error:
            # The program has not asked for it, and serves all the same.
            say(f"manyhands: no control socket: {sentence_of(error)}\n")
            return _nothing


def _nothing() -> None:
    pass


def _is_of_multiprocessing() -> bool:
    process = sys.modules.get("multiprocessing.process")
    return process is not None and process.parent_process() is not None
