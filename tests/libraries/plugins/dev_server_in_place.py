"""For Werkzeug's suite: its development servers get a PYTHONPATH of its own, so they need ours named too."""

import os
import subprocess
from typing import Any

_LAUNCHER = os.environ["MANYHANDS_LAUNCHER"].split()
_WITNESS = os.environ["PYTHONPATH"].split(os.pathsep)


class _Popen(subprocess.Popen[Any]):
    def __init__(self, args: Any, *more: Any, **options: Any) -> None:
        env = options.get("env") or os.environ
        witnesses = [path for path in _WITNESS if path.endswith("witness")]
        options["env"] = {
            **env,
            "PYTHONPATH": os.pathsep.join([env.get("PYTHONPATH", ""), *witnesses]),
        }
        super().__init__([args[0], *_LAUNCHER, *args[1:]], *more, **options)


subprocess.Popen = _Popen  # type: ignore[misc]  # the point of this plugin
