"""Runs at the start of every Python that a program under `manyhands run` starts.

That may be any Python, version 2 included, so this file keeps to what all of them can read. Then it
steps aside for the `sitecustomize` that would have run without it. When there is none, the import
below fails the way that the interpreter takes to mean just that, and no trace of this file is left.
"""

import os
import sys

if sys.version_info >= (3, 11):  # noqa: UP036 - a child may be any Python
    import _manyhands_startup  # type: ignore[import-not-found]  # beside this file

    _manyhands_startup.prepare()

_here = __file__.rpartition(os.sep)[0]
sys.path[:] = [entry for entry in sys.path if entry != _here]
sys.modules.pop("sitecustomize", None)

# Not this file any more, but the next one on the path.
import sitecustomize  # type: ignore[import-not-found]  # noqa: E402, F401
