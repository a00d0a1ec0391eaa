"""Compiling the C programs: the load generator, and the event loop that is the limit."""

import functools
import hashlib
import os
import shutil
import subprocess
from pathlib import Path

HERE = Path(__file__).parent
CACHE = HERE.parent / ".cache" / "bench"
FLAGS = ("-std=c11", "-O2", "-Wall", "-Wextra")


class NoCompilerError(Exception):
    """There is no C compiler on this machine."""


def compiler() -> str:
    """Return the path of the C compiler: $CC, or cc, gcc or clang.

    Raises
    ------
    NoCompilerError
        When there is none.
    """
    for name in (os.environ.get("CC"), "cc", "gcc", "clang"):
        if name and (path := shutil.which(name)):
            return path
    raise NoCompilerError(
        "the load generator is compiled when it is run, and this machine has no C compiler "
        "(Debian: apt-get install gcc libc6-dev)"
    )


def load_generator() -> Path:
    """Return the compiled load generator, made anew when its source has changed."""
    return _compiled("load", tuple(sorted((HERE / "load").glob("*.[ch]"))))


def epoll_loop() -> Path:
    """Return the compiled event loop."""
    return _compiled("epoll", (HERE / "contestants" / "epoll.c",))


@functools.cache
def _compiled(name: str, sources: tuple[Path, ...]) -> Path:
    command = [compiler(), *FLAGS]
    digest = hashlib.sha256(" ".join(command).encode())
    for source in sources:
        digest.update(source.read_bytes())
    program = CACHE / f"{name}-{digest.hexdigest()[:16]}"
    if not program.exists():
        CACHE.mkdir(parents=True, exist_ok=True)
        # Two runs may compile at the same time; each puts a whole file in place.
        half = program.with_name(f"{program.name}.{os.getpid()}")
        units = [str(source) for source in sources if source.suffix == ".c"]
        subprocess.run([*command, "-o", str(half), *units], check=True, timeout=120)
        half.replace(program)
    return program
