"""The control sockets of a `manyhands.Server`: those that its options name, for as long as it listens."""

import os
from collections.abc import Callable
from typing import Any

from manyhands.control.sockets import control_sockets
from manyhands.server.served_sockets import ControlOpening, ServedSockets
from manyhands.serving.controls import ServerControls


def opening(sockets: ServedSockets, controls: ServerControls) -> ControlOpening:
    """Return what opens the control sockets that a server's options name."""

    def open_them() -> Callable[[], None]:
        options = sockets.options
        return control_sockets.enter(
            controls, _place(options["control"]), _place(options["control_read"])
        )

    return open_them


def _place(value: Any) -> str | None:
    return None if value is None else os.fspath(value)
