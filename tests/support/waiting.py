"""Waiting for a condition, never for time to pass: the public kit's own way."""

from manyhands.testing.waiting import PATIENCE, wait_until

__all__ = ["PATIENCE", "wait_until"]
