"""Whether what was compiled may be used."""

import os

IS_PURE_PYTHON_WANTED = os.environ.get("MANYHANDS_PURE_PYTHON", "0") not in {"", "0"}
"""``MANYHANDS_PURE_PYTHON=1`` in the environment asks for plain Python, whatever could be compiled."""
