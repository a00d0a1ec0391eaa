"""How to call in: commands that work when they are typed into another terminal as they stand."""

import os
import shlex
import shutil
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path

from manyhands.model.addresses import Address

_EVERY_INTERFACE = {"": "127.0.0.1", "0.0.0.0": "127.0.0.1", "::": "127.0.0.1"}  # noqa: S104 - recognised, not bound


def invitation(addresses: Iterable[Address]) -> Iterator[str]:
    """Say how to call in on each address, with our client and with netcat."""
    for address in addresses:
        yield f"the desk is open on {address}; to call in, type in another terminal"
        yield f"    {command()} connect {_target(address)}"
        yield f"or  {_netcat(address)}"


def command() -> str:
    """Return the words that start this program from the current folder."""
    script = Path(sys.argv[0])
    if script.name == "__main__.py" or not script.is_file():
        return f"{_shortest(Path(sys.executable))} -m manyhands"
    return _shortest(script)


def _shortest(program: Path) -> str:
    """Return the name of a program if the shell finds it by that, else its path, relative if it is below."""
    path = os.path.abspath(program)  # noqa: PTH100 - a link must stay one: it is what makes an environment's python
    if shutil.which(program.name) == path:
        return shlex.quote(program.name)
    relative = os.path.relpath(path)
    if relative.startswith(os.pardir):
        return shlex.quote(path)
    return shlex.quote(relative if os.sep in relative else os.path.join(os.curdir, relative))  # noqa: PTH118 - a Path drops the dot


def _target(address: Address) -> str:
    if address.path:
        return shlex.quote(str(address))
    host = _EVERY_INTERFACE.get(address.host, address.host)
    return f"[{host}]:{address.port}" if ":" in host else f"{host}:{address.port}"


def _netcat(address: Address) -> str:
    if address.path:
        return f"nc -U {shlex.quote(address.path)}"
    return f"nc {_EVERY_INTERFACE.get(address.host, address.host)} {address.port}"
