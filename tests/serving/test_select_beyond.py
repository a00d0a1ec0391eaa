"""`select.select` in a handler, with a descriptor that it does not take."""

from tests.support import run_python

PROGRAM = """
    import fcntl, resource, select, socket, sys, threading
    import manyhands

    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))

    class Handler(manyhands.BaseRequestHandler):
        def handle(self):
            high = fcntl.fcntl(self.request.fileno(), fcntl.F_DUPFD, 1024)
            select.select([high], [], [])

    class Server(manyhands.TCPServer):
        engine = sys.argv[1]

    sys.stderr = sys.stdout
    with Server(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        with socket.create_connection(server.server_address) as peer:
            peer.recv(10)
        server.shutdown()
        thread.join()
"""


def test_the_error_says_what_to_do(engine: str) -> None:
    said = run_python(PROGRAM, engine)
    assert "ValueError: filedescriptor out of range in select()\n" in said
    assert "select.select takes descriptors up to 1,023" in said
    assert "selectors.DefaultSelector or select.poll" in said
