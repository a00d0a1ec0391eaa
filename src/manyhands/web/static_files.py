"""The files that the page consists of, read once."""

from collections.abc import Mapping
from http import HTTPStatus
from importlib.resources import files

from manyhands.web.http_connection import Response

MEDIA_TYPES = {
    ".css": "text/css; charset=utf-8",
    ".html": "text/html; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
}
"""By the ends of the files' names. Others are not served."""

INDEX = "index.html"


def static_files() -> Mapping[str, Response]:
    """Read the files; return the answers by their paths. Nothing but these is ever served."""
    responses = {}
    for file in files("manyhands.web").joinpath("static").iterdir():
        media_type = MEDIA_TYPES.get(file.name[file.name.rfind(".") :])
        if media_type is not None:
            path = "/" if file.name == INDEX else f"/static/{file.name}"
            responses[path] = Response(HTTPStatus.OK, media_type, file.read_bytes())
    return responses
