"""How late a hub turns: what a fiber waits that could go on."""

import time

from manyhands.engines.engine import Engine
from manyhands.engines.fibers.engine import FibersEngine
from manyhands.runtime.locks import Latch


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
    has_turned, asked = Latch(), time.monotonic()
    home.call(has_turned.set)
    has_turned.wait(patience)
    return min(time.monotonic() - asked, patience)
