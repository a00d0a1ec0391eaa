"""What the desk and its client find around them: a terminal, signals, limits, the user's data folder."""

import os
import resource
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from manyhands._version import __version__
from manyhands.desk.link_frames import VERSION
from manyhands.desk.transcript_file import IN_MEMORY
from manyhands.model.usage_errors import MissingExtra, Mistake

STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGALRM)
"""SIGHUP comes when the terminal window is closed, SIGALRM of an `alarm` that was set before the start."""

_MOST_DESCRIPTORS = 65_536
"""As many callers as one desk can have. Some hard limits are a thousand times as much, and cost memory."""

_DESK = "MANYHANDS_DESK"
"""The environment variable by which workers find the desk: the version of the frames that it understands, and
its address, in hexadecimal digits."""


def has_terminal() -> bool:
    """Tell whether standard input and output are a terminal that can do more than print lines."""
    is_dumb = os.environ.get("TERM", "dumb") == "dumb"
    return not is_dumb and all(stream and stream.isatty() for stream in (sys.stdin, sys.stdout))


@contextmanager
def stopping_on_signals(stop: Callable[[], None]) -> Iterator[None]:
    """Have `STOP_SIGNALS` call `stop`, so that everything comes to its proper end."""
    before = {number: signal.signal(number, lambda *_: stop()) for number in STOP_SIGNALS}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def data_folder() -> Path:
    """Return the user's data folder for manyhands, made if need be.

    Raises
    ------
    Mistake
        When platformdirs is not installed, or the folder cannot be made.
    """
    try:
        from platformdirs import user_data_path  # noqa: PLC0415 - an extra
    except ImportError:
        what = "a transcript in your data folder (without --transcript FILE)"
        raise MissingExtra(what, "platformdirs", "chat") from None
    folder = user_data_path("manyhands")
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise Mistake(
            f"cannot make the folder {folder} ({error.strerror}): say --transcript FILE"
        ) from None
    return folder


def transcript_file(given: str | None) -> str:
    """Return the transcript's file: the given one, else the one in the data folder.

    Raises
    ------
    Mistake
        When the name is empty, or there is no data folder.
    """
    if given == "":
        raise Mistake("the name of the transcript's file is empty: say --transcript FILE")
    return str(data_folder() / "transcript.sqlite") if given is None else given


def history_file(transcript: str) -> Path | None:
    """Return the file of what the operator typed, in the data folder; None when there is none.

    A desk that keeps no transcript keeps no history either, and one without a data folder runs all the same.
    """
    if transcript == IN_MEMORY:
        return None
    try:
        file = data_folder() / "history"
        file.touch(mode=0o600)  # before the editor makes it: others must not read what is said
    except (Mistake, OSError):
        return None
    return file


def allow_many_descriptors() -> None:
    """Raise the soft limit of descriptors: each caller takes one, and the usual 1,024 are soon used up."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = _MOST_DESCRIPTORS if hard == resource.RLIM_INFINITY else min(hard, _MOST_DESCRIPTORS)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


@contextmanager
def found_by_workers(address: bytes) -> Iterator[None]:
    """Have the processes that are started during a context find the desk at an address."""
    os.environ[_DESK] = f"{VERSION}:{address.hex()}"
    try:
        yield
    finally:
        del os.environ[_DESK]


def address_of_desk() -> bytes:
    """Return where the desk is whose worker this process is to be.

    Raises
    ------
    Mistake
        When nothing says so, or the desk is of another version.
    """
    # Taken away: what a worker starts is none.
    version, _, address = os.environ.pop(_DESK, "").partition(":")
    if not address:
        raise Mistake("a worker of a desk is started by its desk alone")
    if version != str(VERSION):
        raise Mistake(
            f"manyhands {__version__} is installed now, whose workers do not go with the desk that runs: "
            "start it anew"
        )
    return bytes.fromhex(address)
