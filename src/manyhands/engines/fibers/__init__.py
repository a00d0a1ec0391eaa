"""The fiber engine: thousands of connections in one thread, on gevent's hub."""
