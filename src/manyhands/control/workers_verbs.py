"""The verbs about workers, and what a server without any says to them."""

from manyhands.config.option_types import MOST_WORKERS
from manyhands.control.messages import Refusal
from manyhands.control.params import Param, Whole
from manyhands.control.protocol import Code
from manyhands.control.verbs import Asker, Verb


def no_workers() -> Refusal:
    """Return what a server without workers says."""
    return Refusal(Code.NOT_NOW, "this server has no workers: it serves in one process")


def _refuse(asker: Asker, **params: object) -> None:
    del asker, params
    raise no_workers()


WORKERS_VERBS = (
    Verb("workers.list", _refuse, "the processes that serve connections for a supervisor"),
    Verb(
        "workers.restart",
        _refuse,
        "replace a worker, or all of them one after the other; no connection is dropped",
        (Param("worker", Whole(1, MOST_WORKERS), "the number of one; all unless told"),),
        writes=True,
    ),
    Verb(
        "upgrade",
        _refuse,
        "have the program that is installed now take the supervisor's process over, with its workers",
        writes=True,
    ),
    Verb(
        "workers.scale",
        _refuse,
        "have so many workers",
        (Param("count", Whole(1, MOST_WORKERS), "how many", is_required=True),),
        writes=True,
    ),
)
"""The verbs about workers. A supervisor's own are in `manyhands.control.fleet_verbs`."""
