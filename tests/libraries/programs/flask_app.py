"""A Flask application on its development server, with the reloader."""

import os
import sys

from flask import Flask
from werkzeug.serving import BaseWSGIServer

app = Flask(__name__)


@app.get("/")
def index():
    tcp_server = next(cls for cls in BaseWSGIServer.__mro__ if cls.__name__ == "TCPServer")
    served_by = tcp_server.__init__.__code__.co_filename
    return {"text": "first", "served_by": served_by, "process": os.getpid()}


if __name__ == "__main__":
    app.run("127.0.0.1", int(sys.argv[1]), debug=True)
