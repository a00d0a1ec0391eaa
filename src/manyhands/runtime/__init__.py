"""Locks, wake-ups, sockets and forks that work alike for threads, fibers and forked processes."""
