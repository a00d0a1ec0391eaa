"""The verbs about servers: their limits, their listeners, their end."""

from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from typing import Any

from manyhands.config.option import Option
from manyhands.config.option_types import Seconds
from manyhands.control.messages import Refusal
from manyhands.control.params import Number, Param, Text, Values, Whole, unknown
from manyhands.control.process import Controlled
from manyhands.control.protocol import Code
from manyhands.control.verbs import Asker, Verb
from manyhands.model.quantities import read_seconds
from manyhands.model.socket_addresses import format_address
from manyhands.model.usage_errors import Mistake
from manyhands.serving.core import core_of
from manyhands.serving.info import plain

LARGEST_SERVER = 2**31

LONGEST_DRAIN = 1e6
"""Seconds: eleven days."""

of_server = Param(
    "server", Whole(1, LARGEST_SERVER), "the number of the server, where there are several"
)
"""Which server is meant."""


def _get_limits(asker: Asker, *, server: int | None = None) -> dict[str, object]:
    return {
        "items": [
            {
                "server": each.number,
                "name": option.name,
                "value": plain(each.server.value_of(option.name)),
                "default": plain(option.default),
                "unit": option.kind.unit,
                "help": option.help,
            }
            for each in asker.process.servers(server)
            for option in each.server.adjustable.values()
        ]
    }


def _set_limits(
    asker: Asker, *, values: Mapping[str, Any], server: int | None = None
) -> dict[str, object]:
    controls = _one_server(asker, server).server
    for name in values:
        if name not in controls.adjustable:
            raise Refusal(Code.BAD_PARAMS, unknown("limit", name, list(controls.adjustable)))
    try:
        controls.adjust(
            {name: _read(controls.adjustable[name], value) for name, value in values.items()}
        )
    except Mistake as mistake:
        raise Refusal(Code.BAD_PARAMS, str(mistake)) from None
    return {"values": {name: plain(controls.value_of(name)) for name in values}}


def _read(option: Option, value: object) -> object:
    """Return the value that is meant: of a time as people type it, its seconds."""
    if isinstance(value, str) and isinstance(option.kind, Seconds):
        # What is none, or does not fit, is refused as it was given.
        with suppress(ValueError):
            seconds = read_seconds(value)
            return seconds if option.kind.fits(seconds) else value
    return value


def _one_server(asker: Asker, number: int | None) -> Controlled:
    servers = asker.process.servers(number)
    if len(servers) != 1:
        there = ", ".join(f"{each.number} ({each.server.handler})" for each in servers)
        what = (
            f"say which server is meant: there is {there}"
            if there
            else "there is no server any more"
        )
        raise Refusal(Code.BAD_PARAMS if there else Code.NOT_NOW, what)
    return servers[0]


def _set_suspended(
    asker: Asker, listener: str | None, server: int | None, *, value: bool
) -> dict[str, object]:
    chosen = [
        (each, one)
        for each in asker.process.servers(server)
        for one in each.server.listeners
        if listener is None or listener == format_address(one.server_address)
    ]
    if not chosen:
        raise Refusal(Code.NO_SUCH_THING, _no_listener(asker.process.servers(server), listener))
    for each, one in chosen:
        each.server.set_suspended(one, value)
    return {
        "listeners": [
            {
                "server": each.number,
                "address": format_address(one.server_address),
                "is_suspended": core_of(one).is_suspended,
            }
            for each, one in chosen
        ]
    }


def _no_listener(servers: Iterable[Controlled], wanted: str | None) -> str:
    listeners = [one for each in servers for one in each.server.listeners]
    there = ", ".join(format_address(one.server_address) for one in listeners) or "none"
    return f"there is no listener {wanted or 'here'}; there is {there}"


def _suspend(
    asker: Asker, *, listener: str | None = None, server: int | None = None
) -> dict[str, object]:
    return _set_suspended(asker, listener, server, value=True)


def _resume(
    asker: Asker, *, listener: str | None = None, server: int | None = None
) -> dict[str, object]:
    return _set_suspended(asker, listener, server, value=False)


def _drain(asker: Asker, *, timeout: float | None = None) -> dict[str, object]:
    refusals: list[Mistake] = []
    servers = asker.process.servers()
    for each in servers:
        try:
            each.server.begin_drain(timeout)
        except Mistake as mistake:
            refusals.append(mistake)
    _refuse_if_none_can(servers, refusals)
    return {"is_draining": True}


def _reload(asker: Asker) -> dict[str, object]:
    refusals: list[Mistake] = []
    reloaded: list[str] = []
    servers = asker.process.servers()
    for each in servers:
        try:
            reloaded.append(each.server.reload())
        except Mistake as mistake:
            refusals.append(mistake)
    _refuse_if_none_can(servers, refusals)
    return {"reloaded": True, "what": ", ".join(dict.fromkeys(reloaded))}


def _refuse_if_none_can(servers: Sequence[Controlled], refusals: list[Mistake]) -> None:
    if len(refusals) == len(servers):
        said = "; ".join(dict.fromkeys(map(str, refusals)))
        raise Refusal(Code.NOT_NOW, said or "there is no server any more")


def _metrics(asker: Asker, *, server: int | None = None) -> dict[str, object]:
    try:
        page = _one_server(asker, server).figures().page()
    except Mistake as mistake:
        raise Refusal(Code.NOT_NOW, str(mistake)) from None
    return {"text": page.body.decode(), "content_type": page.media_type}


_listener = Param("listener", Text(), "the address of one, as status has it; all unless told")

SERVER_VERBS = (
    Verb(
        "limits.get",
        _get_limits,
        "the options that can be changed while a server serves",
        (of_server,),
    ),
    Verb(
        "limits.set",
        _set_limits,
        "change such options: all of those that are given, or none",
        (
            Param(
                "values",
                Values(),
                "the values by their names; a time is a number of seconds, or a text as 5m",
                is_required=True,
            ),
            of_server,
        ),
        writes=True,
    ),
    Verb(
        "listeners.suspend",
        _suspend,
        "accept no client: new ones wait in the kernel's backlog, and open connections go on",
        (_listener, of_server),
        writes=True,
    ),
    Verb(
        "listeners.resume",
        _resume,
        "accept clients again",
        (_listener, of_server),
        writes=True,
    ),
    Verb(
        "drain",
        _drain,
        "stop serving, and let the connections come to their ends",
        (
            Param(
                "timeout",
                Number(0, LONGEST_DRAIN),
                "seconds that they get; drain_timeout unless told",
            ),
        ),
        writes=True,
    ),
    Verb(
        "reload",
        _reload,
        "read the certificates again; with workers, replace them by those of a new generation",
        writes=True,
    ),
    Verb("metrics", _metrics, "the figures of a server, as Prometheus reads them", (of_server,)),
)
"""The verbs about servers."""
