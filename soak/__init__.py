"""Everything at once, for ten minutes: ``make soak``.

A server on threads and one on fibers, each in a process of its own, serve a crowd that talks, churns, stalls,
resets, drips and breaks its handshakes, while their connections are kicked, their listeners suspended and
resumed, and their certificates replaced. At the end the books must balance and agree with what the crowd did,
the processes be as large as after their first minute, and nobody who behaved have been cut off.
"""
