"""One connection in all detail, with where its handler stands."""

from collections.abc import Iterator

from manyhands.console.figures import Json, connection, fraction, items, mapping, text
from manyhands.console.spans import Line, labelled, span
from manyhands.model.quantities import NOT_KNOWN, age, count, size

_LABEL = 14
"""Columns of the names of the figures."""


def lines_of(answer: Json) -> list[Line]:
    """Return the lines for the answer of `connections.get`."""
    return [*_figures(answer), (), *_stack(answer)]


def _figures(answer: Json) -> Iterator[Line]:
    one = connection(answer)
    yield _line("peer", one.peer)
    yield _line("listener", one.listener)
    if local := text(answer.get("local")):
        yield _line("called", local)
    yield _line("handler", one.handler)
    yield _line("state", f"{one.state}, {one.reason}" if one.reason else one.state)
    yield _line("age", age(one.age))
    yield _line("silent for", age(one.silent))
    yield _line("received", size(one.bytes_in))
    yield _line("sent", size(one.bytes_out))
    if one.waiting is not None:
        missed = f", {count(one.missed)} pieces missed" if one.missed else ""
        yield _line("in its outbox", f"{size(one.waiting)}{missed}")
    if one.rooms:
        yield _line("rooms", one.rooms)
    for label, name in (("TLS", "tls"), ("PROXY header", "proxy")):
        if told := _told(answer.get(name)):
            yield _line(label, told)
    if ends := _ends(mapping(answer.get("deadlines"))):
        yield _line("deadlines", ends)
    yield from _places(answer)


def _places(answer: Json) -> Iterator[Line]:
    """Say which worker and which process have it, where that is another one than the server's."""
    for label, name in (("worker", "worker"), ("process", "pid")):
        if number := text(answer.get(name)):
            yield _line(label, number)


def _line(label: str, value: str) -> Line:
    return labelled(label.ljust(_LABEL), value or NOT_KNOWN)


def _told(value: object) -> str:
    return ", ".join(f"{name} {text(each)}" for name, each in mapping(value).items() if each)


def _ends(deadlines: Json) -> str:
    known = ((name, fraction(value)) for name, value in deadlines.items())
    return ", ".join(f"{name} {age(value)}" for name, value in known if value is not None)


def _stack(answer: Json) -> Iterator[Line]:
    calls = [text(each) for each in items(answer.get("stack"))]
    if not calls:
        yield (span("where its handler stands is not known", "label"),)
        return
    yield (span("its handler stands here, the innermost call last:", "label"),)
    yield from ((span(f"  {call}"),) for call in calls)
