"""Admission: limits on connections, on rates and on networks, and the log of refusals."""
