"""Every Python process that ends says which file its `socketserver` came from.

It stands on the PYTHONPATH of the programs under test, so that a suite which passed is known to have passed
on the implementation that it was meant to test.
"""

import atexit
import os
import sys


def _bear_witness() -> None:
    module = sys.modules.get("socketserver")
    record = os.environ.get("MANYHANDS_WITNESS")
    if module is not None and record is not None:
        with open(record, "a", encoding="utf-8") as file:  # noqa: PTH123 - pathlib is too slow for every start-up
            file.write(f"{module.BaseServer.serve_forever.__code__.co_filename}\n")


atexit.register(_bear_witness)
