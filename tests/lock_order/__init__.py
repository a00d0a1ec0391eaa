"""The order in which the library takes its locks: what records it, and what is served meanwhile."""
