"""The figures: what a request costs on our servers and on others. ``python -m bench --help``."""
