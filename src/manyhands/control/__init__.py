"""The control socket: what a server is doing, and what an operator may change while it serves."""
