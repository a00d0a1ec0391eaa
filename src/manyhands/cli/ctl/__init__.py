"""`manyhands ctl`: asks a server what it is doing, and steers it, through its control socket."""

import argparse
import json
import sys
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from manyhands.cli.flags import seconds
from manyhands.cli.parser import Parser
from manyhands.model.escaping import escape
from manyhands.model.usage_errors import MISTAKE, Mistake, closest

if TYPE_CHECKING:
    from manyhands.cli.ctl.tables import Look
    from manyhands.cli.ctl.views import View
    from manyhands.control.client import Client
    from manyhands.control.discovery import Found

HELP = "ask a server that runs, and steer it"

_FAILED = 1

_DESCRIPTION = """\
Ask a server that runs what it is doing, and steer it, through its control socket. Without --control it is
your only server; `manyhands ctl ls` lists them."""

_WATCHED = ("events", "stats")

_CALLED = ("connections.", "limits.", "listeners.", "rooms.", "workers.")
"""How verbs of the protocol begin that are called otherwise here."""


class _Own(NamedTuple):
    """A verb that is more than a question and its answer.

    Attributes
    ----------
    help : str
        What it does.
    run : callable
        Does it, and returns the exit status.
    add_arguments : callable
        Declares its own words.
    """

    help: str
    run: Callable[[argparse.Namespace], int]
    add_arguments: Callable[[argparse.ArgumentParser], None]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare what `manyhands ctl` takes before a verb; what follows belongs to the verb."""
    parser.usage = "%(prog)s [--json] [--control PATH] VERB ..."
    parser.description = _DESCRIPTION
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    verbs = [f"  {name:<13}{text}" for name, text in _helps().items()]
    parser.epilog = "\n".join(["verbs:", *verbs, "", "%(prog)s VERB --help says more."])
    _add_common(parser)
    parser.set_defaults(json=False, control=None, prog=parser.prog)


def _add_common(parser: argparse.ArgumentParser) -> None:
    # No defaults: the verb's parser would put its own in the place of what was given before the verb.
    parser.add_argument(
        "--json", action="store_true", default=argparse.SUPPRESS, help="print JSON, for programs"
    )
    parser.add_argument(
        "--control",
        metavar="PATH",
        default=argparse.SUPPRESS,
        help="the server's control socket: a path, @NAME, or the number of its process "
        "(default: that of your only server)",
    )


def split(words: Sequence[str]) -> tuple[list[str], list[str]]:
    """Split the words after `manyhands ctl` into those before the verb, and the rest from the verb on."""
    position = 0
    while position < len(words) and words[position].startswith("-"):
        position += 2 if words[position] == "--control" else 1
    return list(words[:position]), list(words[position:])


def run(arguments: argparse.Namespace) -> int:
    """Carry out a verb; return 0, or 1 when a server refuses it, or there is none.

    What only the server can tell to be a mistake on the command line is one all the same, and gets a 2.
    """
    from manyhands.control.client_socket import ControlError

    verb = parsed(arguments)
    try:
        return verb.run(arguments)
    except ControlError as error:
        print(f"manyhands: {escape(str(error))}", file=sys.stderr)
        return MISTAKE if _is_mistake(error) else _FAILED


def _is_mistake(error: Exception) -> bool:
    from manyhands.control.client import Refused
    from manyhands.control.protocol import Code

    return isinstance(error, Refused) and error.code in {Code.NO_SUCH_VERB, Code.BAD_PARAMS}


def parsed(arguments: argparse.Namespace) -> _Own:
    """Put what the words of a verb say into `arguments`, and return the verb.

    Raises
    ------
    Mistake
        There is no such verb, or it has other words.
    """
    name, *words = arguments.words or [""]
    verb = _verb(name, arguments.prog)
    parser = Parser(prog=f"{arguments.prog} {name}", description=verb.help, allow_abbrev=False)
    verb.add_arguments(parser)
    _add_common(parser)
    words = _joined(words)
    parser.refuse_unknown_options(words)
    parser.parse_args(words, arguments)
    return verb


def _verb(name: str, prog: str) -> _Own:
    helps = _helps()
    names = ", ".join(helps)
    if not name:
        raise Mistake(f"say what to do, one of {names} (see {prog} --help)")
    if name in _OWN:
        return _OWN[name]
    from manyhands.cli.ctl.verbs import VERBS

    if name in VERBS:
        verb = VERBS[name]
        return _Own(verb.help, lambda arguments: _ask(name, arguments), verb.add_arguments)
    near = closest(name.lower(), helps)
    if name.startswith(_CALLED):
        hint = f"; the server's verbs are called by {prog} call {name}"
    elif near:
        hint = f"; did you mean {near}?"
    else:
        hint = f", only {names} (see {prog} --help)"
    raise Mistake(f"there is no verb {name!r} of ctl{hint}")


def _helps() -> dict[str, str]:
    from manyhands.cli.ctl.verbs import VERBS

    helps = {name: verb.help for name, verb in VERBS.items()}
    return {"ls": _OWN["ls"].help, **helps, **{name: own.help for name, own in _OWN.items()}}


def _joined(words: Sequence[str]) -> list[str]:
    """Write `--sort -in` as one word: argparse takes the second for an option."""
    joined: list[str] = []
    for word in words:
        if joined and joined[-1] == "--sort" and not word.startswith("--"):
            joined[-1] = f"--sort={word}"
        else:
            joined.append(word)
    return joined


def _connected(arguments: argparse.Namespace) -> "Client":
    from manyhands.control import discovery

    return discovery.choose(arguments.control)


def _ask(name: str, arguments: argparse.Namespace) -> int:
    from manyhands.cli.ctl.output import print_json, print_lines
    from manyhands.cli.ctl.tables import Look
    from manyhands.cli.ctl.verbs import VERBS

    verb = VERBS[name]
    with _connected(arguments) as client:
        result = verb.ask(client, arguments)
    if arguments.json:
        print_json(result)
    else:
        print_lines(_shown(verb.show, result, Look.of_standard_output(), client))
    return 0 if verb.is_done(result) else _FAILED


def _shown(view: "View", result: Any, look: "Look", client: "Client") -> list[str]:
    """Write what a server said for people; one of another version may say it otherwise."""
    from manyhands.cli.ctl.workers import missing
    from manyhands.control.client_socket import ControlError

    try:
        return [*view(result, look), *missing(result.get("missing", ()), look)]
    except (LookupError, TypeError, ValueError, AttributeError, OverflowError) as error:
        version = client.hello.version
        raise ControlError(
            f"the server runs on manyhands {version}, whose answer this version cannot show; --json prints it"
        ) from error


def _add_nothing(parser: argparse.ArgumentParser) -> None:
    del parser


def _list_servers(arguments: argparse.Namespace) -> int:
    from manyhands.cli.ctl import views
    from manyhands.cli.ctl.output import print_json, print_lines
    from manyhands.cli.ctl.tables import Look
    from manyhands.control import discovery
    from manyhands.control.client_socket import Unreachable

    if arguments.control is not None:
        raise Mistake("ls lists the servers that are in the usual places: leave --control out")
    result = {"items": [_listed(found) for found in discovery.servers()]}
    if arguments.json:
        print_json(result)
    elif result["items"]:
        print_lines(views.servers(result, Look.of_standard_output()))
    if not result["items"]:
        raise Unreachable(discovery.NONE_THERE)
    return 0


def _listed(found: "Found") -> dict[str, Any]:
    from manyhands.control.client_socket import ControlError

    place, client = found.place, found.client
    about: dict[str, Any] = {"pid": place.pid, "user": place.uid, "place": place.text}
    if client is None:
        return {**about, "name": "(does not answer)", "why_not": found.why_not}
    with client:
        hello = client.hello
        about |= {"name": hello.name, "started": hello.started, "manyhands": hello.version}
        try:
            status = client.call("status")
        except ControlError as error:
            return {**about, "why_not": str(error)}
        return {**about, "uptime": status["uptime"], "open": status["books"]["open"]}


def _add_call(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("verb", metavar="VERB", help="a verb of the protocol: `verbs` lists them")
    parser.add_argument(
        "params",
        metavar="PARAMS",
        nargs="?",
        type=_params,
        help="its parameters: an object of JSON, as '{\"limit\": 5}'",
    )


def _params(text: str) -> dict[str, Any]:
    expected = "PARAMS must be an object of JSON, as '{\"limit\": 5}'"
    try:
        params = json.loads(text)
    except ValueError as error:
        raise Mistake(f"{expected}, not {text[:60]!r}: {error}") from None
    if not isinstance(params, dict):
        raise Mistake(f"{expected}, not {text[:60]!r}")
    return params


def _call(arguments: argparse.Namespace) -> int:
    from manyhands.cli.ctl.output import print_json, print_lines

    with _connected(arguments) as client:
        result = client.request(arguments.verb, arguments.params)
    if arguments.json:
        print_json(result)
    else:
        text = json.dumps(result, ensure_ascii=False, indent=2)
        print_lines(escape(line) for line in text.splitlines())
    return 0


def _add_watch(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "what",
        metavar="events|stats",
        nargs="*",
        type=_watched,
        help="what to watch (default: events)",
    )
    parser.add_argument(
        "--every",
        metavar="SECONDS",
        type=lambda text: seconds("--every", text),
        help="between two lines of stats, from 0.1 to 60 (default: 1)",
    )


def _watched(word: str) -> str:
    if word not in _WATCHED:
        raise Mistake(f"what can be watched is events and stats, not {word!r}")
    return word


def _watch(arguments: argparse.Namespace) -> int:
    from manyhands.cli.ctl import views
    from manyhands.cli.ctl.notifications import notifications
    from manyhands.cli.ctl.output import print_json, print_lines
    from manyhands.cli.ctl.tables import Look

    look = Look.of_standard_output()
    with _connected(arguments) as client:
        client.watch(*(dict.fromkeys(arguments.what) or ["events"]), every=arguments.every)
        for kind, params in notifications(client):
            if arguments.json:
                print_json({"method": kind, "params": params})
            else:
                view = views.events if kind == "events" else views.stats
                print_lines(_shown(view, params, look, client))
    return 0


_OWN = {
    "ls": _Own("your servers that have a control socket", _list_servers, _add_nothing),
    "watch": _Own("what happens, and how many there are, as it comes", _watch, _add_watch),
    "call": _Own("a verb of the protocol, with its parameters in JSON", _call, _add_call),
}
