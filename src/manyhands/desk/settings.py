"""How a desk is set up, with every default."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from manyhands.desk.line import OUTBOX
from manyhands.desk.messages import LINE_LIMIT


@dataclass(frozen=True, slots=True)
class Settings:
    """How a desk is set up.

    Attributes
    ----------
    addresses : sequence of str
        Where it listens.
    transcript : str or None
        The transcript's file; None: the one in the user's data folder.
    max_line : int
        Bytes of the longest line that a caller may say.
    outbox : int
        Bytes that may wait for a caller who does not read.
    greeting : str or None
        Said to everybody who calls in.
    engine : str or None
        What a call is served in: ``"threads"`` or ``"fibers"``; None: in fibers where gevent is installed.
    limits : mapping
        Who may call: options of `manyhands.Server` that limit connections, by their names.
    """

    addresses: Sequence[str] = ("tcp://127.0.0.1:8008",)
    transcript: str | None = None
    max_line: int = LINE_LIMIT
    outbox: int = OUTBOX
    greeting: str | None = None
    engine: Literal["threads", "fibers"] | None = None
    limits: Mapping[str, Any] = field(default_factory=dict)
