"""The verbs about servers, and about the process."""

from collections.abc import Sequence
from typing import Any

from manyhands.control.connection_verbs import CONNECTION_VERBS
from manyhands.control.params import Number, Param, Several, Word
from manyhands.control.verbs import Asker, Verb, Verbs


def _verbs(asker: Asker) -> dict[str, object]:
    del asker
    return {"items": [_described(verb) for verb in VERBS]}


def _described(verb: Verb) -> dict[str, object]:
    return {
        "name": verb.name,
        "writes": verb.writes,
        "params": [
            {
                "name": each.name,
                "type": each.kind.name,
                "help": each.help,
                "required": each.is_required,
            }
            for each in verb.params
        ],
        "help": verb.help,
    }


def _status(asker: Asker) -> dict[str, Any]:
    return asker.process.status(may_write=asker.may_write)


def _watch(asker: Asker, *, what: Sequence[str], every: float = 1.0) -> dict[str, object]:
    watched = list(dict.fromkeys(what))
    asker.watch(watched, every)
    return {"watching": watched, "every": every}


VERBS = Verbs(
    Verb("verbs", _verbs, "the verbs that there are, and what they take"),
    Verb("status", _status, "how the servers and the process fare"),
    *CONNECTION_VERBS,
    Verb(
        "watch",
        _watch,
        "be told by itself of stats and events from now on; of nothing: no more",
        (
            Param(
                "what",
                Several(Word("stats", "events"), 2),
                "stats, events, or both",
                is_required=True,
            ),
            Param("every", Number(0.1, 60), "seconds between two stats, 1 unless told"),
        ),
    ),
)
"""All verbs."""
