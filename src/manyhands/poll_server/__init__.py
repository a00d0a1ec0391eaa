"""Servers beside those of the program, for its operators: one thread of the system's that waits with poll."""
