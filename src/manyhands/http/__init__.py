"""Pages over HTTP for the operator's tools, such as the metrics: a server, and enough of the protocol."""
