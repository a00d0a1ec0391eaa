"""What a supervisor hands to the program that takes its place in the same process: an upgrade.

``execve(2)`` keeps the process, its children and its descriptors. What only memory has is written down as
JSON, in a file of memory (memfd_create(2)) that the new program finds by a variable of its environment. Its
version is that of all that supervisor and templates tell each other, by which the look has found them fit.
"""

import json
import os
from collections.abc import Iterable, Mapping
from typing import Any

from manyhands.workers.records import VERSION


def write(state: Mapping[str, Any]) -> int:
    """Write a state down; return the descriptor of the file, which a new program inherits.

    Raises
    ------
    OSError
        When there is no memory, or no descriptor.
    """
    descriptor = os.memfd_create("manyhands-upgrade", 0)
    try:
        data = memoryview(json.dumps({**state, "version": VERSION}).encode())
        while data:
            data = data[os.write(descriptor, data) :]
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor


def read(descriptor: int) -> dict[str, Any]:
    """Read a state that was written in this process by the program before, and close the file.

    Raises
    ------
    ValueError
        When it is none, or of another version.
    """
    with os.fdopen(descriptor, "rb") as file:
        file.seek(0)
        state: dict[str, Any] = json.load(file)
    if state.get("version") != VERSION:
        raise ValueError(
            f"the supervisor before wrote a state of version {state.get('version')}, not {VERSION}"
        )
    return state


def variable(descriptor: int) -> str:
    """Return what `workers.role.UPGRADE` has to say in the environment: the process, and the descriptor."""
    return f"{os.getpid()}:{descriptor}"


def set_inheritable(descriptors: Iterable[int], *, value: bool) -> None:
    """Have descriptors stay open when another program takes this process over, or no longer."""
    for descriptor in descriptors:
        if descriptor >= 0:
            os.set_inheritable(descriptor, value)
