"""The poller that is in use: the compiled one, or the one in plain Python where that could not be built."""

import contextlib
from typing import TYPE_CHECKING

import manyhands.engines.fibers.plain_poller as _plain
from manyhands.runtime.compiled import IS_PURE_PYTHON_WANTED

_NAMES = {"Channel", "Poller", "readinto", "recv", "recv_into", "send", "sendall", "set_slot"}

_chosen = _plain
if not TYPE_CHECKING and not IS_PURE_PYTHON_WANTED:
    # What is there may be left from an older build, without the names that came since, or made for another
    # libc or greenlet, and each of these fails in its own way.
    with contextlib.suppress(Exception):
        from manyhands.engines.fibers import _poller

        if set(vars(_poller)) >= _NAMES:
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
