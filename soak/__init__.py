"""Everything at once, for ten minutes: ``make soak``.

A server on threads, one on processes and one on fibers serve a crowd that talks, churns, stalls, resets,
drips, breaks its handshakes, and gossips in a room some members of which do not listen, while connections
are kicked, listeners suspended and resumed, certificates replaced, and threads and descriptors
run out. For a minute nothing reads the logs, and for another there is no thread. The books must balance and
agree with what the crowd did, memory and the processor time of a connection stay as they were, and no client
that behaved be cut off. Then SIGTERM comes at the worst moment, and must end the process in time. Beside them
workers are killed and replaced under a crowd of their own (`soak.workers`).
"""
