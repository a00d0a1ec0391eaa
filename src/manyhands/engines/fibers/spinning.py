"""A handler that reads on at the end of its input, again and again: it is named, and slowed down.

Each of its reads comes back at once with nothing, and a loop that takes that for "not yet" never ends. On
threads it takes a processor; in a fiber it takes the time of all the others.
"""

import traceback
from typing import Any

from manyhands.engines.fibers.foreign_threads import pause_here
from manyhands.model import lazy_events as events
from manyhands.model.event_hub import event_hub
from manyhands.runtime.caller import current_task

READS_AT_THE_END = 1000
"""As many no loop makes that looks at what it reads."""

PAUSE = 0.01
"""Seconds between two further reads: then it takes next to nothing, and still does what it does."""


def note_end(channel: Any) -> None:
    """Take notice of a read that has met the end of the input. Called by the fiber that reads."""
    channel.ends += 1
    if channel.ends < READS_AT_THE_END:
        return
    task = current_task()
    if channel.ends == READS_AT_THE_END and task is not None and event_hub.has_subscribers:
        stack = "".join(traceback.format_stack()[:-1])
        event_hub.emit(events.HandlerSpins(task.handler, task.client_address, channel.ends, stack))
    pause_here(PAUSE)
