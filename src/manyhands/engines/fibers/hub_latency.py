"""How late a hub turns: what a fiber waits that could go on."""

import time

from manyhands.engines.engine import Engine
from manyhands.engines.fibers.engine import FibersEngine
from manyhands.engines.fibers.foreign_threads import ThreadEvent


def delay(engine: Engine, patience: float) -> float | None:
    """Measure how long the hub of an engine takes until it does what another thread asks of it.

    Parameters
    ----------
    engine
        Whose.
    patience
        Seconds to wait at most; what takes longer counts as that.

    Returns
    -------
    float or None
        Seconds; None where the engine has no hub, or not yet, and in the hub's own thread.
    """
    home = engine._home if isinstance(engine, FibersEngine) else None
    if home is None or home.has_ended or home.is_here():
        return None
    event, asked = ThreadEvent(), time.monotonic()
    home.call(event.set)
    event.wait(patience)
    return min(time.monotonic() - asked, patience)
