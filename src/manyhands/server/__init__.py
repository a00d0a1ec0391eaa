"""`manyhands.Server`: several listeners on one engine, with signals, systemd and a drain."""

from manyhands.server.server import Server

__all__ = ["Server"]
