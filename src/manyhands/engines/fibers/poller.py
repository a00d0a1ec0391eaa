"""The poller that is in use: the compiled one, or the one in plain Python where that could not be built."""

import binascii
import contextlib
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING

import manyhands.engines.fibers.plain_poller as _plain
from manyhands.runtime.compiled import IS_PURE_PYTHON_WANTED


def _fits(compiled: ModuleType) -> bool:
    """Tell whether a compiled poller is of this version, if its source is there to tell."""
    try:
        source = Path(__file__).with_name("_poller.pyx").read_bytes()
    except OSError:
        return True
    return bool(compiled.made_of == binascii.crc32(source))


_chosen = _plain
if not TYPE_CHECKING and not IS_PURE_PYTHON_WANTED:
    # What is there may be left from an older build, or made for another libc or greenlet, and each of these
    # fails in its own way.
    with contextlib.suppress(Exception):
        from manyhands.engines.fibers import _poller

        if _fits(_poller):
            _chosen = _poller

IS_COMPILED = _chosen is not _plain
"""Whether the compiled poller is in use."""

Channel = _chosen.Channel
Poller = _chosen.Poller
recv = _chosen.recv
readinto = _chosen.readinto
recv_into = _chosen.recv_into
send = _chosen.send
sendall = _chosen.sendall
set_slot = _chosen.set_slot
