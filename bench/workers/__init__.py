"""What workers cost, and what they keep up: ``python -m bench.workers``.

Each measurement starts its servers anew, by ``manyhands serve --workers N``, and has its load in processes of
their own. It prints a table for docs/benchmarks.md.
"""
