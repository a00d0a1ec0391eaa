"""The verbs about connections."""

from collections.abc import Mapping, Sequence
from typing import Any

from manyhands.config.option_types import MOST_WORKERS
from manyhands.connections.connection import Connection
from manyhands.control.connection_order import SORTS
from manyhands.control.connection_pages import Entry, Page, row_of, rows_of
from manyhands.control.messages import Listed, Refusal
from manyhands.control.params import Fields, Number, Param, Several, Text, Whole, Word
from manyhands.control.process import ControlledProcess
from manyhands.control.protocol import Code
from manyhands.control.server_verbs import LARGEST_SERVER
from manyhands.control.verbs import Asker, Verb
from manyhands.control.workers_verbs import no_workers
from manyhands.model.connection_states import State
from manyhands.model.socket_addresses import format_address
from manyhands.serving.stack_location import stacks_of

STACK_PATIENCE = 0.1
"""Seconds that handlers in processes of their own get to tell where they stand: nearly all do in one or two
milliseconds. No other client of the control socket is answered meanwhile."""

LONGEST_TIME = 1e9
"""Seconds: thirty years, more than a server runs."""

connection_id = Text(40)
"""What an id of a connection is: clients never compute with it."""


def _list(
    asker: Asker,
    *,
    where: Mapping[str, Any] | None = None,
    sort: str = "id",
    limit: int = 100,
    after: str | None = None,
) -> Listed:
    page = asker.process.page(_without_workers(where), sort, limit, after)
    return Listed(rows_of(page), _facts(page))


def _without_workers(where: Mapping[str, Any] | None) -> Mapping[str, Any]:
    if where is not None and "worker" in where:
        raise no_workers()
    return where or {}


def _facts(page: Page) -> dict[str, object]:
    return {"next": page.next, "total": page.total, "open": page.open}


def _page(
    asker: Asker, *, where: Mapping[str, Any], sort: str, limit: int, after: str | None = None
) -> Listed:
    page = asker.process.page(where, sort, limit, after)
    return Listed(rows_of(page), {**_facts(page), "keys": page.keys})


def _get(asker: Asker, *, id: str) -> dict[str, object]:  # noqa: A002 - the parameter's name
    entry = _open(asker, id)
    connection = entry.connection
    version, header = connection.tls_version, connection.proxy_header
    engine = connection.engine
    stack = stacks_of([(engine, connection)], STACK_PATIENCE).get(connection)
    own = connection.own_timeouts
    deadlines = connection.core.options.timeouts(connection.server) if own is None else own
    return {
        **row_of(entry),
        "local": format_address(connection.local_address),
        "tls": None
        if version is None
        else {
            "version": version,
            "cipher": connection.tls_cipher,
            "client": connection.client_certificate_subject,
        },
        "proxy": None
        if header is None
        else {
            "version": header.version,
            "command": header.command.name,
            "source": _address(header.source),
            "destination": _address(header.destination),
        },
        "deadlines": {
            "idle_timeout": deadlines.idle_timeout,
            "write_timeout": deadlines.write_timeout,
            "max_age": deadlines.max_age,
        },
        "stack": stack,
        "pid": engine.processes().get(connection),
    }


def _address(address: object) -> str | None:
    return None if address is None else format_address(address)


def _close(
    asker: Asker,
    *,
    id: str | None = None,  # noqa: A002 - the parameter's name
    ids: Sequence[str] | None = None,
) -> dict[str, object]:
    if (id is None) == (ids is None):
        raise Refusal(Code.BAD_PARAMS, "connections.close takes an id, or ids")
    if id is not None:
        _open(asker, id)
    closed: list[str] = []
    gone: list[str] = []
    for each in [id] if id is not None else ids or ():
        entry = _found(asker.process, each)
        is_closed = entry is not None and entry.connection.close()
        (closed if is_closed else gone).append(each)
    return {"closed": closed, "gone": gone}


def the_connection(asker: Asker, wanted: str) -> Connection:
    """Return an open connection by its id.

    Raises
    ------
    Refusal
        It is not open.
    """
    return _open(asker, wanted).connection


def _open(asker: Asker, wanted: str) -> Entry:
    found, number = _found(asker.process, wanted), number_of(wanted)
    if found is None:
        known = "" if number is None else asker.process.end_of(number)
        raise Refusal(Code.NO_SUCH_THING, f"there is no connection {named(wanted)}{known}")
    return found


def _found(process: ControlledProcess, wanted: str) -> Entry | None:
    number = number_of(wanted)
    return None if number is None else process.connection(number)


def named(wanted: str) -> str:
    """Return an id as sentences have it."""
    return wanted if wanted.isalnum() else repr(wanted)


def number_of(wanted: str) -> int | None:
    """Return the number that an id stands for; None where it is none of ours."""
    is_number = wanted.isascii() and wanted.isdecimal()
    return int(wanted) if is_number else None


CONNECTION_VERBS = (
    Verb(
        "connections.list",
        _list,
        "the open connections, by page",
        (
            Param(
                "where",
                Fields(
                    Param("state", Word(*(state.value for state in State)), "the state"),
                    Param(
                        "peer", Text(), "a part of the client's address, or a network as 10.0.0.0/8"
                    ),
                    Param("listener", Text(), "the address that the client called"),
                    Param("handler", Text(), "the name of its handler"),
                    Param("room", Text(), "a room that it is in"),
                    Param("server", Whole(1, LARGEST_SERVER), "the number of its server"),
                    Param("worker", Whole(1, MOST_WORKERS), "the number of its worker"),
                    Param(
                        "idle_over", Number(0, LONGEST_TIME), "nothing received for more seconds"
                    ),
                    Param("age_over", Number(0, LONGEST_TIME), "open for more seconds"),
                    Param(
                        "text",
                        Text(),
                        "a part of its id, of its client's address or of its handler's name",
                    ),
                ),
                "only those that are so",
            ),
            Param("sort", Word(*SORTS), "a field to sort by, descending with - before it"),
            Param("limit", Whole(1, 1000), "how many on a page, 100 unless told"),
            Param("after", Text(), "the next of the page before"),
        ),
    ),
    Verb(
        "connections.get",
        _get,
        "one open connection, with its stack",
        (Param("id", connection_id, "which", is_required=True),),
    ),
    Verb(
        "connections.close",
        _close,
        "end connections under their handlers",
        (
            Param("id", connection_id, "which"),
            Param("ids", Several(connection_id, 1000), "which ones"),
        ),
        writes=True,
    ),
)
"""The verbs about connections."""

CONNECTIONS_PAGE = Verb(
    "connections.page",
    _page,
    "a page of the open connections, and by what each is sorted",
    CONNECTION_VERBS[0].params,
)
"""What a supervisor asks its workers: to put their pages into one order it needs the keys."""
