"""The control sockets of the commands that serve: on by themselves, where that makes no noise."""

import argparse
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from manyhands.config.option_types import AUTO
from manyhands.config.options import SERVER_OPTIONS
from manyhands.model.usage_errors import Mistake

if TYPE_CHECKING:
    from manyhands.serving.controls import ServerControls

NAMES = ("control", "control_read")
"""The options, which are those of `manyhands.Server`."""

_DEFAULTS = {"control": AUTO, "control_read": "none"}


def add_control_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the flags of the control sockets."""
    for name in NAMES:
        option = SERVER_OPTIONS[name]
        parser.add_argument(
            option.flag,
            metavar=option.kind.metavar,
            type=option.parse,
            default=option.parse(_DEFAULTS[name]),
            help=f"{option.help}; or none (default: {_DEFAULTS[name]})",
        )


def given_places(arguments: argparse.Namespace) -> dict[str, str | None]:
    """Return where the sockets are to be, as `Server` takes it.

    Raises
    ------
    Mistake
        A place that was given is none, another server is there, or both are the same.
    """
    places = {name: getattr(arguments, name) for name in NAMES}
    paths = [
        _checked(SERVER_OPTIONS[name].flag, place)
        for name, place in places.items()
        if place not in {None, AUTO}
    ]
    if len(set(paths)) < len(paths):
        raise Mistake(f"--control and --control-read are both to be at {paths[0]}")
    return places


def _checked(flag: str, place: str) -> str:
    """Refuse a place that cannot be had, before a program is started that knows nothing of it."""
    # Not at the top: `manyhands --help` needs none of it.
    from manyhands.control import places
    from manyhands.listening.unix_paths import what_is_at

    path = places.given(place)
    if path.startswith("@"):
        _refuse_taken_name(flag, place, places.socket_address(path))
        return path
    folder = os.path.dirname(os.path.abspath(path))  # noqa: PTH100, PTH120 - `pathlib` is 3 ms of each start
    if not os.path.isdir(folder):  # noqa: PTH112
        raise Mistake(f"{flag} {place}: its folder does not exist")
    if not os.access(folder, os.W_OK | os.X_OK):
        raise Mistake(f"{flag} {place}: permission denied in its folder")
    in_the_way = what_is_at(path, socket.SOCK_STREAM)
    if in_the_way is not None:
        raise Mistake(f"{flag} {place}: {in_the_way}")
    return os.path.abspath(path)  # noqa: PTH100 - as above


def _refuse_taken_name(flag: str, place: str, address: str) -> None:
    try:
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind(address)
    except OSError as error:
        raise Mistake(f"{flag} {place}: {(error.strerror or str(error)).lower()}") from None


@contextmanager
def controlled(
    arguments: argparse.Namespace, server: "ServerControls", name: str
) -> Iterator[None]:
    """Have a server asked about, for the time of a context, on the sockets that the flags name.

    Raises
    ------
    Mistake
        One cannot be had at the place that was given.
    """
    from manyhands.control.own_name import own_name
    from manyhands.control.sockets import control_sockets
    from manyhands.listening.bind import sentence_of

    own_name.given = name
    try:
        leave = control_sockets.enter(server, arguments.control, arguments.control_read)
    except OSError as error:
        raise Mistake(sentence_of(error)) from None
    try:
        yield
    finally:
        leave()
