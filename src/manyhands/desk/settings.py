"""How a desk is set up, and the server of its calls: the same in its own process and in each worker."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from manyhands.desk.call_handler import Terms
from manyhands.desk.call_io import GOODBYE
from manyhands.desk.messages import from_the_desk
from manyhands.desk.transcript_limits import NO_LIMITS, Limits
from manyhands.engines import ENGINES
from manyhands.model.usage_errors import MissingExtra
from manyhands.server import Server
from manyhands.server.listener import Handler


@dataclass(frozen=True, slots=True)
class Settings:
    """How a desk is set up.

    Attributes
    ----------
    addresses : sequence of str
        Where it listens.
    transcript : str or None
        The transcript's file; None: the one in the user's data folder.
    keep : Limits
        How much the transcript may hold.
    terms : Terms
        What each caller may do.
    engine : {"threads", "fibers"} or None
        What a call is served in: ``"threads"`` or ``"fibers"``; None: in fibers where gevent is installed.
    limits : mapping
        Which callers are taken, and what may wait for one who does not read: options of `manyhands.Server`
        that limit connections, by their names; and those of workers, and of control sockets.
    """

    addresses: Sequence[str] = ("tcp://127.0.0.1:8008",)
    transcript: str | None = None
    keep: Limits = NO_LIMITS
    terms: Terms = field(default_factory=Terms)
    engine: Literal["threads", "fibers"] | None = None
    limits: Mapping[str, Any] = field(default_factory=dict)

    @property
    def has_workers(self) -> bool:
        """Whether the calls are served in processes of their own."""
        return bool(self.limits.get("workers"))


def server_of(handler: Handler, settings: Settings) -> Server:
    """Return the server of a desk, which does not listen yet."""
    # Callers of old workers go on talking with the same operator.
    stays = {"reload_drain": "stay"} if settings.has_workers else {}
    return Server(
        handler,
        *settings.addresses,
        engine=settings.engine or _best_engine(),
        # A caller may well have nothing to say for hours.
        idle_timeout=None,
        # All callers were said goodbye to before the server waits for the calls to end.
        drain_timeout=GOODBYE + 3.0,
        # A person who waits in silence thinks that there is no desk.
        when_full="refuse",
        refusal=from_the_desk("no more calls are taken just now; please call again later") + "\n",
        **(stays | dict(settings.limits)),
    )


def _best_engine() -> Literal["threads", "fibers"]:
    """Return the engine that holds most callers, of those that can be had."""
    try:
        # Importing gevent is the only sure way to know that it can be imported.
        ENGINES["fibers"]()
    except MissingExtra:
        return "threads"
    return "fibers"
