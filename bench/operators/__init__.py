"""What operators who look at a server cost it, and how long they wait: ``python -m bench.operators``.

On a control socket of `manyhands.Server` on fibers. It prints a table for docs/benchmarks.md.
"""

from bench.contestants import Contestant

CONTROLLED = Contestant(
    "manyhands-controlled",
    "manyhands on fibers, with a control socket",
    "manyhands_controlled.py",
    ("echo",),
    nodelay=False,
)
