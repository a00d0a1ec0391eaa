"""The verbs about rooms."""

import heapq
from base64 import b64decode
from collections.abc import Sequence

from manyhands.control.messages import Listed, Refusal, written
from manyhands.control.params import Param, Text, Whole
from manyhands.control.process import Controlled
from manyhands.control.protocol import LONGEST_REQUEST, Code
from manyhands.control.server_verbs import LARGEST_SERVER, of_server
from manyhands.control.verbs import Asker, Verb
from manyhands.model.pieces import LONGEST_NAME
from manyhands.model.usage_errors import Mistake
from manyhands.runtime.slices import slices

MOST_ROOMS = 1000
"""Rooms on a page."""


def _list(
    asker: Asker, *, limit: int = MOST_ROOMS, after: str | None = None, server: int | None = None
) -> Listed:
    last = (0, "") if after is None else read_cursor(after)
    sizes = {each.number: each.server.core.rooms.sizes() for each in asker.process.servers(server)}
    rooms = (
        (number, room, members)
        for number, rooms_of_it in sizes.items()
        for some in slices(list(rooms_of_it.items()))
        for room, members in some
        if (number, room) > last
    )
    # One more than the page has: it tells whether there is another page.
    page = heapq.nsmallest(limit + 1, rooms)
    items = [
        written({"server": number, "room": room, "members": members})
        for some in slices(page[:limit])
        for number, room, members in some
    ]
    following = cursor_of_room(*page[limit - 1][:2]) if len(page) > limit else None
    return Listed(items, {"next": following, "total": sum(map(len, sizes.values()))})


def cursor_of_room(server: int, room: str) -> str:
    """Return the cursor of the page after a room."""
    return f"{server} {room}"


def read_cursor(cursor: str) -> tuple[int, str]:
    """Return which server and room a cursor is of.

    Raises
    ------
    Refusal
        It is none.
    """
    number, _, room = cursor.partition(" ")
    if not (
        room and number.isascii() and number.isdecimal() and len(number) <= len(str(LARGEST_SERVER))
    ):
        raise Refusal(Code.BAD_PARAMS, "after must be the next of the page before")
    return int(number), room


def _tell(
    asker: Asker,
    *,
    room: str,
    text: str | None = None,
    base64: str | None = None,
    server: int | None = None,
) -> dict[str, object]:
    if (text is None) == (base64 is None):
        raise Refusal(Code.BAD_PARAMS, "rooms.tell takes a text, or base64")
    data = _encoded(text) if text is not None else _decoded(base64 or "")
    servers = _with_room(asker.process.servers(server), room)
    try:
        return {"told": sum(each.server.tell(room, data) for each in servers)}
    except Mistake as mistake:
        raise Refusal(Code.BAD_PARAMS, str(mistake)) from None


def _with_room(servers: Sequence[Controlled], room: str) -> list[Controlled]:
    found = [each for each in servers if room in each.server.core.rooms.sizes()]
    if not found:
        raise Refusal(Code.NO_SUCH_THING, f"there is no room {room!r}: no connection is in it")
    return found


def _encoded(text: str) -> bytes:
    try:
        return text.encode()
    except UnicodeEncodeError:
        raise Refusal(Code.BAD_PARAMS, "text has what UTF-8 has not: send base64") from None


def _decoded(text: str) -> bytes:
    try:
        return b64decode(text, validate=True)
    except ValueError as error:
        raise Refusal(Code.BAD_PARAMS, f"base64 is none: {error}") from None


ROOM_VERBS = (
    Verb(
        "rooms.list",
        _list,
        "the rooms, and how many are in each, by page",
        (
            Param("limit", Whole(1, MOST_ROOMS), "how many on a page, 1000 unless told"),
            Param("after", Text(), "the next of the page before"),
            of_server,
        ),
    ),
    Verb(
        "rooms.tell",
        _tell,
        "send something to all members of a room, as it stands",
        (
            Param("room", Text(LONGEST_NAME), "which", is_required=True),
            Param("text", Text(LONGEST_REQUEST), "what, in UTF-8; no end of line is added"),
            Param("base64", Text(LONGEST_REQUEST), "what, in base64: for bytes that are no text"),
            of_server,
        ),
        writes=True,
    ),
)
"""The verbs about rooms."""
