"""The answer to a scrape."""

from collections.abc import Callable
from http import HTTPStatus

from prometheus_client import CollectorRegistry
from prometheus_client.exposition import choose_encoder

from manyhands.metrics.request import Request

PATH = "/metrics"

_TEXT = "text/plain; charset=utf-8"


def page_of(registry: CollectorRegistry) -> Callable[[Request | None], bytes]:
    """Return what answers requests with the figures of `registry`, in whatever format is asked for."""

    def answer(request: Request | None) -> bytes:
        if request is None:
            return _response(HTTPStatus.BAD_REQUEST, _TEXT, b"this is no request of HTTP\n")
        if request.method not in {"GET", "HEAD"}:
            return _response(HTTPStatus.METHOD_NOT_ALLOWED, _TEXT, b"only GET is answered here\n")
        if request.path != PATH:
            return _response(HTTPStatus.NOT_FOUND, _TEXT, f"the metrics are at {PATH}\n".encode())
        encode, content_type = choose_encoder(request.accept)
        return _response(
            HTTPStatus.OK, content_type, encode(registry), has_body=request.method == "GET"
        )

    return answer


def _response(status: HTTPStatus, kind: str, body: bytes, *, has_body: bool = True) -> bytes:
    lines = (
        f"HTTP/1.0 {status.value} {status.phrase}",
        f"Content-Type: {kind}",
        f"Content-Length: {len(body)}",
        "Connection: close",
        "",
        "",
    )
    return "\r\n".join(lines).encode("latin-1") + (body if has_body else b"")
