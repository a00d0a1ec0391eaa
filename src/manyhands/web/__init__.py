"""The page that shows what a server does: a web server of its own, and a client of the control socket."""
