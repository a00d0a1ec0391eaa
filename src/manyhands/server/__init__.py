"""`manyhands.Server`: several listeners on one engine, with signals, systemd and a drain."""

from manyhands.server.server import OPTIONS, Server

__all__ = ["OPTIONS", "Server"]
