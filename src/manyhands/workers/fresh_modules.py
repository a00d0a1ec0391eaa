"""What is compiled of a module that was just written is not kept: its next version could be taken for it.

The file in ``__pycache__`` names the version of its module by the second in which that was written, and its
length (https://docs.python.org/3/reference/import.html#cached-bytecode-invalidation). Of two versions of one
length, written within a second, with a reload in between, the second one would never be seen.
"""

import os
import time
from functools import wraps
from importlib.machinery import SourceFileLoader
from typing import Any

SETTLED = 2.0
"""Seconds after which another version is written in another second, however the files' clock rounds."""


def keep_none_of_fresh_modules() -> None:
    """Have this process keep nothing that it compiles of modules written within the last two seconds."""
    keep = SourceFileLoader.set_data

    @wraps(keep)
    def set_data(self: SourceFileLoader, path: Any, data: Any, **keywords: Any) -> None:
        if is_settled(self.path):
            keep(self, path, data, **keywords)

    # For good: a template imports nothing but the program, and what is installed was written long ago.
    SourceFileLoader.set_data = set_data  # type: ignore[method-assign]


def is_settled(path: str) -> bool:
    """Tell whether a file was written so long ago that its next version has another time."""
    try:
        written = os.stat(path).st_mtime  # noqa: PTH116 - at the start of each template, which is to be quick
    except OSError:
        return False
    # Of a time to come it is not known either when it was written.
    return time.time() - written >= SETTLED
