"""Turns of an accept loop in which there is nothing to do but to serve the next client.

Most servers have one listener, no limits, and nothing that changes. Then a turn of the loop is a poll, the
hooks, and a look whether it is still so. All else goes back to the loop, whose turns look at everything.
"""

import math
import select
import time
from collections.abc import Callable
from functools import partial

from manyhands.engines.sequential import SequentialEngine
from manyhands.runtime.caller import Turn
from manyhands.runtime.wakeup import WakeUp
from manyhands.serving.listener_watch import ListenerWatch
from manyhands.serving.request_hooks import handle_request_noblock


def serve_plainly(
    watch: ListenerWatch,
    wakeup: WakeUp,
    is_stopping: Callable[[], object],
    poll_interval: float | None,
) -> None:
    """Serve the clients of a sequential listener until something else is to be done, or none has come.

    Parameters
    ----------
    watch
        The listener, which may accept.
    wakeup
        What wakes the loop: then something has changed.
    is_stopping
        Asked before each client.
    poll_interval
        Seconds to wait for a client; None: as long as it takes.
    """
    loops, engine, polled = watch.core.loops, watch.engine, watch.polled
    if polled is None or loops.turn is not None or not isinstance(engine, SequentialEngine):
        return
    poll = select.poll()
    poll.register(polled, select.POLLIN)
    poll.register(wakeup, select.POLLIN)
    timeout = None if poll_interval is None else math.ceil(1000 * max(0.0, poll_interval))
    wait = partial(poll.poll, timeout)
    turn = engine.begin_turns()
    if turn is None:
        return
    loops.turn = turn
    try:
        _serve_while_plain(watch, turn, is_stopping, wait, [(polled, select.POLLIN)])
    finally:
        loops.turn = None
        engine.end_turns(turn)


def _serve_while_plain(
    watch: ListenerWatch,
    turn: Turn,
    is_stopping: Callable[[], object],
    wait: Callable[[], object],
    only_a_client: object,
) -> None:
    listener, core, now = watch.listener, watch.core, time.monotonic
    socket = getattr(listener, "socket", None)  # a program's own kind of server may have none
    options, backoff, admission = core.options, core.accept_backoff, core.admission
    engines, engine = core.engines, watch.engine
    # Each connection asks which engine is its own: one that goes to another may be the last that has room.
    while engines.latest is engine and not (
        is_stopping()
        or core.is_suspended
        or backoff.since is not None
        or admission.is_guarded
        or admission.has_chores
    ):
        ready = wait()
        if ready == only_a_client:
            turn.began_at = now()
            if turn.began_at >= options.look_at or getattr(listener, "socket", None) is not socket:
                return
            handle_request_noblock(listener)
        elif ready:
            return  # the loop was woken, or the listener is broken
        try:
            listener.service_actions()
        except Exception:  # noqa: BLE001 - a hook's failure must not end the service
            listener.handle_error(None, None)
        if not ready:
            return
