"""The fiber engine: thousands of conversations in one thread, on gevent's hub."""
