"""A WSGI application on `wsgiref`, an ordinary program of the standard library.

python examples/wsgi_app.py 8000                  # one client after the other
manyhands run --engine threads examples/wsgi_app.py 8000     # all of them at once
"""

import sys
import threading
from collections.abc import Iterable
from wsgiref.simple_server import make_server
from wsgiref.types import StartResponse, WSGIEnvironment


def application(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
    """Tell each client its address and the thread that serves it."""
    client, server = environ["REMOTE_ADDR"], threading.current_thread().name
    start_response("200 OK", [("Content-Type", "text/plain; charset=utf-8")])
    yield f"Hello {client}, you are served by {server}.\n".encode()


def main() -> None:
    """Serve on the port from the command line, by default on 8000."""
    port = int(sys.argv[1]) if len(sys.argv) > 1 else 8000
    with make_server("127.0.0.1", port, application) as server:
        print(f"listening on http://127.0.0.1:{server.server_port}/", flush=True)
        server.serve_forever()


if __name__ == "__main__":
    main()
