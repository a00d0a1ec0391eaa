"""Protocols as pure code: bytes in, values out; no I/O and no clock."""
