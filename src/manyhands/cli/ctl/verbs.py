"""The verbs of `manyhands ctl`: their words, what they ask of a server, and how the answer is shown."""

import argparse
import base64
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from typing import Any, NamedTuple

from manyhands.cli.ctl import views, workers
from manyhands.cli.ctl.tables import Look
from manyhands.cli.flags import seconds, whole
from manyhands.control import limit_values
from manyhands.control.client import Client
from manyhands.model.usage_errors import Mistake

_PAGE = 1000
"""Connections, or rooms, of one request: the most that a server takes."""

Arguments = argparse.Namespace


def _no_words(parser: argparse.ArgumentParser) -> None:
    del parser


class Verb(NamedTuple):
    """One verb.

    Attributes
    ----------
    name : str
        Its name.
    help : str
        What it does.
    ask : callable
        Asks a server, and returns what `show` writes: JSON.
    show : callable
        Writes that for people.
    add_arguments : callable
        Declares the verb's own words.
    is_done : callable
        Tells of the result whether all was done that was asked for.
    """

    name: str
    help: str
    ask: Callable[[Client, Arguments], Any]
    show: views.View
    add_arguments: Callable[[argparse.ArgumentParser], None] = _no_words
    is_done: Callable[[Any], bool] = lambda _: True


def _plain(verb: str, *names: str) -> Callable[[Client, Arguments], Any]:
    """Return what asks for a verb of the protocol, with the arguments of these names."""

    def ask(client: Client, arguments: Arguments) -> Any:
        return client.call(verb, **{name: getattr(arguments, name) for name in names})

    return ask


def _add_server(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--server",
        metavar="NUMBER",
        type=partial(whole, "--server"),
        help="that server of the process (default: all)",
    )


def _add_limit(parser: argparse.ArgumentParser, default: int) -> None:
    parser.add_argument(
        "--limit",
        metavar="NUMBER",
        type=partial(whole, "--limit"),
        help=f"how many to show (default: {default})",
    )


def _add_page(parser: argparse.ArgumentParser, default: int) -> None:
    _add_limit(parser, default)
    parser.add_argument("--all", action="store_true", help="show all, however many there are")


def _pages(ask: Callable[..., Any], arguments: Arguments) -> Any:
    """Ask for one page, or where --all was given for all of them."""
    if not arguments.all:
        return ask(limit=arguments.limit)
    result = ask(limit=_PAGE)
    while result["next"] is not None:
        page = ask(limit=_PAGE, after=result["next"])
        result = {
            **page,
            "items": [*result["items"], *page["items"]],
            **_missing_of(result, page),
        }
    return result


def _missing_of(*answers: Any) -> dict[str, list[int]]:
    """Return the workers that have not answered one of several requests; nothing where there are none."""
    several = [each["missing"] for each in answers if "missing" in each]
    return {"missing": sorted(set().union(*several))} if several else {}


def _id(text: str) -> str:
    # The log writes #1742.
    return text.removeprefix("#")


_WHERE = {
    "state": "in this state: open, accepted and so on",
    "peer": "whose client's address has this in it; or a network, as 10.0.0.0/8",
    "listener": "on this listener",
    "handler": "of this handler",
    "room": "in this room",
    "text": "with this in the id, the client's address or the handler's name",
}

_WHERE_SECONDS = {
    "idle_over": "from which nothing was received for longer",
    "age_over": "that were accepted longer ago",
}


def _add_connections(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--sort",
        metavar="FIELD",
        help="id, peer, state, age, silent, in, out and so on; with - before it the largest first "
        "(default: id)",
    )
    for name, what in _WHERE.items():
        parser.add_argument(f"--{name}", metavar=name.upper(), help=f"only those {what}")
    for name, what in _WHERE_SECONDS.items():
        flag = f"--{name.replace('_', '-')}"
        parser.add_argument(
            flag, metavar="SECONDS", type=partial(seconds, flag), help=f"only those {what}"
        )
    _add_server(parser)
    parser.add_argument(
        "--worker",
        metavar="NUMBER",
        type=partial(whole, "--worker"),
        help="only those of this worker (default: all)",
    )
    _add_page(parser, 100)


def _connections(client: Client, arguments: Arguments) -> Any:
    names = (*_WHERE, *_WHERE_SECONDS, "server", "worker")
    given = {name: getattr(arguments, name) for name in names}
    where = {name: value for name, value in given.items() if value is not None} or None
    result = _pages(
        partial(client.call, "connections.list", where=where, sort=arguments.sort), arguments
    )
    if arguments.listener is not None and not result["total"]:
        _check_listener(client, arguments.listener)
    return result


def _check_listener(client: Client, wanted: str) -> None:
    """Say so where a server has no listener of an address: none of its connections would be told as well."""
    servers = client.call("status")["servers"]
    there = [each["address"] for server in servers for each in server["listeners"]]
    if wanted not in there:
        from manyhands.control.client import Refused
        from manyhands.control.protocol import Code

        sentence = f"there is no listener {wanted}; there is {', '.join(there) or 'none'}"
        raise Refused(Code.NO_SUCH_THING, sentence)


def _add_id(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "id", metavar="ID", type=_id, help="the connection's, as `connections` shows it"
    )


def _add_ids(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("ids", metavar="ID", type=_id, nargs="+", help="which connections")


def _close(client: Client, arguments: Arguments) -> Any:
    if len(arguments.ids) == 1:
        # Then the server says what has become of it.
        return client.call("connections.close", id=arguments.ids[0])
    result: dict[str, Any] = {"closed": [], "gone": []}
    for start in range(0, len(arguments.ids), _PAGE):
        done = client.call("connections.close", ids=arguments.ids[start : start + _PAGE])
        lists = {name: [*result[name], *done[name]] for name in ("closed", "gone")}
        result = {**lists, **_missing_of(result, done)}
    return result


def _add_limits(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "limits",
        metavar="NAME=VALUE",
        nargs="*",
        help="set this one, all of them or none; the value none takes a limit away. NAME alone shows it",
    )
    _add_server(parser)


def _limits(client: Client, arguments: Arguments) -> Any:
    values = _settings(word for word in arguments.limits if "=" in word)
    names = [word.replace("-", "_") for word in arguments.limits if "=" not in word]
    if values and names:
        raise Mistake(f"{names[0]} has no value: say {names[0]}=VALUE, or ask for it alone")
    if values:
        return client.call("limits.set", values=values, server=arguments.server)
    result = client.call("limits.get", server=arguments.server)
    return {**result, "items": _named(result["items"], names)} if names else result


def _settings(words: Iterable[str]) -> dict[str, object]:
    values: dict[str, object] = {}
    for word in words:
        name, _, text = word.partition("=")
        name = name.strip().replace("-", "_")
        if name in values:
            raise Mistake(f"{name} is given twice")
        try:
            values[name] = limit_values.read(text)
        except Mistake as mistake:
            raise Mistake(f"{name}: {mistake}") from None
    return values


def _named(items: list[dict[str, Any]], names: list[str]) -> list[dict[str, Any]]:
    known = list(dict.fromkeys(item["name"] for item in items))
    for name in names:
        if name not in known:
            from manyhands.control.params import unknown

            raise Mistake(unknown("limit", name, known))
    return [item for item in items if item["name"] in names]


def _show_limits(result: Any, look: Look) -> Iterator[str]:
    return views.limits(result, look) if "items" in result else views.set_limits(result, look)


def _add_listener(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "listener",
        metavar="LISTENER",
        nargs="?",
        help="its address, as `status` shows it (default: all)",
    )
    _add_server(parser)


def _add_drain(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--timeout",
        metavar="SECONDS",
        type=partial(seconds, "--timeout"),
        help="for the connections to end by themselves (default: the server's drain_timeout)",
    )


def _add_stacks(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "id", metavar="ID", type=_id, nargs="?", help="only that connection's handler"
    )
    _add_limit(parser, 200)


def _add_rooms(parser: argparse.ArgumentParser) -> None:
    _add_server(parser)
    _add_page(parser, 1000)


def _rooms(client: Client, arguments: Arguments) -> Any:
    return _pages(partial(client.call, "rooms.list", server=arguments.server), arguments)


def _add_tell(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("room", metavar="ROOM", help="the room")
    parser.add_argument("text", metavar="TEXT", help="what each member is sent, as a line")
    parser.add_argument("-n", "--no-newline", action="store_true", help="without the end of a line")
    _add_server(parser)


def _tell(client: Client, arguments: Arguments) -> Any:
    text = arguments.text if arguments.no_newline else f"{arguments.text}\n"
    said: dict[str, str] = {"text": text}
    try:
        text.encode()
    except UnicodeEncodeError:
        # Python's way to have bytes in a word that are no UTF-8 (PEP 383).
        said = {"base64": base64.b64encode(text.encode(errors="surrogateescape")).decode()}
    return client.call("rooms.tell", room=arguments.room, server=arguments.server, **said)


VERBS = {
    verb.name: verb
    for verb in (
        Verb("status", "how the servers of the process fare", _plain("status"), views.status),
        Verb(
            "connections", "the open connections", _connections, views.connections, _add_connections
        ),
        Verb(
            "connection",
            "all that is known of one connection, and where its handler stands",
            _plain("connections.get", "id"),
            views.connection,
            _add_id,
        ),
        Verb(
            "close",
            "end connections, whatever their handlers do",
            _close,
            views.closed,
            _add_ids,
            lambda result: not result["gone"] and not result.get("missing"),
        ),
        Verb(
            "limits",
            "the limits and deadlines, and new values for them",
            _limits,
            _show_limits,
            _add_limits,
        ),
        Verb(
            "suspend",
            "accept no new clients; those that are connected go on",
            _plain("listeners.suspend", "listener", "server"),
            views.listeners,
            _add_listener,
        ),
        Verb(
            "resume",
            "accept clients again",
            _plain("listeners.resume", "listener", "server"),
            views.listeners,
            _add_listener,
        ),
        Verb(
            "drain",
            "stop the servers as SIGTERM does",
            _plain("drain", "timeout"),
            views.draining,
            _add_drain,
        ),
        Verb(
            "reload",
            "reload the certificates, or the program with its workers, as SIGHUP does",
            workers.reload,
            views.reloaded,
        ),
        Verb(
            "upgrade",
            "have the program that is installed now take over, with all workers, as SIGUSR2 does",
            workers.upgrade,
            workers.upgraded,
        ),
        Verb(
            "workers",
            "the worker processes; replace them, have more or fewer",
            workers.ask,
            workers.show,
            workers.add_words,
        ),
        Verb(
            "stacks",
            "where each handler stands",
            _plain("stacks", "id", "limit"),
            views.stacks,
            _add_stacks,
        ),
        Verb(
            "rooms",
            "the rooms, and how many members they have",
            _rooms,
            views.rooms,
            _add_rooms,
        ),
        Verb("tell", "send a text to all in a room", _tell, views.told, _add_tell),
        Verb(
            "metrics",
            "the figures of a server, as Prometheus reads them",
            _plain("metrics", "server"),
            views.metrics,
            _add_server,
        ),
        Verb("verbs", "the verbs of the protocol, for `call`", _plain("verbs"), views.verbs),
    )
}
"""Those that are one question and one answer, in the order of --help."""
