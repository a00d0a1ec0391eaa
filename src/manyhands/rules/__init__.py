"""Rules: pure code without sockets, threads or clocks of its own; tested without any of them."""
