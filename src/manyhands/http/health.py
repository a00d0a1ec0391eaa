"""Whether a server is alive and ready, for balancers and orchestrators, over HTTP.

::

    from manyhands.http import health

    with health.serve(server, "127.0.0.1:8081"):
        server.run()

A thread of its own answers, whatever the server does: see `manyhands.http.server`.
"""

from functools import partial
from http import HTTPStatus
from typing import Any

from manyhands.dropin.base import BaseServer
from manyhands.http.any_server import AnyServer
from manyhands.http.messages import TEXT, Content, Page, Request, answering
from manyhands.http.page_address import page_address
from manyhands.http.server import PageServer
from manyhands.model.addresses import Address
from manyhands.runtime.sockets import descriptor_of
from manyhands.serving.controls import controls_of
from manyhands.serving.core import core_of

ALIVE, READY = "/healthz", "/readyz"
"""The paths, as Kubernetes and most balancers have them in their examples."""


def serve(server: AnyServer, address: str | Address) -> PageServer:
    """Answer whether a server is alive at ``/healthz``, and whether it takes clients at ``/readyz``.

    Parameters
    ----------
    server : manyhands.Server or a server of `manyhands.socketserver`
        Which. It may not be running yet.
    address : str or Address
        Where, as for `manyhands.metrics.serve`, which has these pages too.

    Returns
    -------
    PageServer
        Its `addresses` tell the port; `close` it, or use it in a ``with``. Close it after the drain, during
        which it goes on answering.

    Raises
    ------
    Mistake, OSError
        As of `manyhands.metrics.serve`.
    """
    where = page_address(server, address, "health")
    answer = answering(pages_of(server), f"the pages here are {ALIVE} and {READY}")
    return PageServer(where, answer, lambda: None)


def pages_of(server: AnyServer) -> dict[str, Page]:
    """Return the two pages by their paths."""
    return {ALIVE: _alive, READY: partial(_ready, server)}


def hindrance(server: AnyServer) -> str | None:
    """Say in a word why a server takes no new clients now; None when it does. Thread-safe.

    Returns
    -------
    str or None
        ``"drain"`` from the moment that it is asked to stop, ``"suspended"`` while any of its listeners is,
        or ``"not serving"``.
    """
    controls = controls_of(server)
    if controls.is_stopping:
        return "drain"
    if not any(map(_listens, controls.listeners)):
        return "not serving"
    is_suspended = any(core_of(each).is_suspended for each in controls.listeners)
    return "suspended" if is_suspended else None


def _listens(listener: Any) -> bool:
    if isinstance(listener, BaseServer):
        return bool(core_of(listener).reaper.accept_loops)
    # The accept loop is the standard library's, under a mix-in of ours.
    return descriptor_of(getattr(listener, "socket", None)) >= 0


def _alive(_: Request) -> Content:
    return Content(TEXT, b"ok\n")


def _ready(server: AnyServer, _: Request) -> Content:
    word = hindrance(server)
    status = HTTPStatus.OK if word is None else HTTPStatus.SERVICE_UNAVAILABLE
    return Content(TEXT, f"{word or 'ready'}\n".encode(), status)
