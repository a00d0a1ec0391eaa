"""`manyhands ctl workers`: the processes that serve for a supervisor, and what becomes of them."""

import argparse
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from manyhands.cli.ctl.tables import Look, field, figure, table
from manyhands.cli.flags import whole
from manyhands.control.client import Client
from manyhands.control.protocol import LONGEST_WAIT
from manyhands.model.quantities import age, count
from manyhands.model.usage_errors import Mistake

_WAIT = LONGEST_WAIT + 10
"""Seconds for an answer that comes when workers have been replaced. The server gives up before."""


def add_words(parser: argparse.ArgumentParser) -> None:
    """Declare the words of `workers`."""
    parser.add_argument(
        "deed",
        metavar="restart|scale",
        nargs="?",
        help="replace the worker NUMBER, or all one after the other; or have NUMBER workers "
        "(default: list them)",
    )
    parser.add_argument("number", metavar="NUMBER", nargs="?", help="which worker, or how many")


def ask(client: Client, arguments: argparse.Namespace) -> Any:
    """List the workers, replace them, or have another number of them."""
    deed, text = arguments.deed, arguments.number
    if deed is None:
        return client.call("workers.list")
    if deed not in {"restart", "scale"}:
        raise Mistake(f"workers can be restarted and scaled (restart, scale), not {deed!r}")
    if text is None and deed == "scale":
        raise Mistake("say how many workers there are to be: workers scale NUMBER")
    name = "worker" if deed == "restart" else "count"
    params = {} if text is None else {name: whole("NUMBER", text)}
    result = client.request(f"workers.{deed}", params, _WAIT)
    return {**result, **params}


def reload(client: Client, arguments: argparse.Namespace) -> Any:
    """Have the server reload, and wait for the outcome."""
    del arguments
    return client.request("reload", timeout=_WAIT)


def upgrade(client: Client, arguments: argparse.Namespace) -> Any:
    """Have the program that is installed now take the supervisor's process over."""
    del arguments
    return client.request("upgrade", timeout=_WAIT)


def upgraded(result: Any, look: Look) -> Iterator[str]:
    """Write that the new program takes over."""
    del look
    yield f"process {int(result['pid'])} is taken over by the program that is installed now"


def show(result: Any, look: Look) -> Iterator[str]:
    """Write what the workers are, or what has become of them."""
    if "items" in result:
        yield from workers(result["items"], look)
    elif "count" in result:
        many = result["count"]
        yield "1 worker serves" if many == 1 else f"{count(many)} workers serve"
    else:
        number = result.get("worker")
        yield (
            "all workers have been replaced"
            if number is None
            else f"worker {number} has been replaced"
        )


def workers(items: Sequence[Mapping[str, Any]], look: Look) -> Iterator[str]:
    """Write the workers as a table."""
    if not items:
        yield "there is no worker"
        return
    columns = [
        figure("number", str, "WORKER"),
        figure("pid", str),
        figure("generation", str),
        field("state"),
        figure("open", count),
        figure("begun", count),
        figure("age", age),
        figure("restarts", count),
    ]
    yield from table(columns, items, look)


def missing(numbers: Sequence[int], look: Look) -> Iterator[str]:
    """Write which workers have not answered."""
    if len(numbers) == 1:
        yield look.warning(f"worker {numbers[0]} has not answered: what it knows is missing")
    elif numbers:
        some = ", ".join(map(str, numbers))
        yield look.warning(f"workers {some} have not answered: what they know is missing")


def of_worker(item: Mapping[str, Any]) -> str:
    """Write which worker something is of, as it follows a name; ``""`` on a server without workers."""
    return f", worker {item['worker']}" if "worker" in item else ""
