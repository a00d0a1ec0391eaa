"""What a server does, in figures for Prometheus (the extra ``metrics``).

::

    from manyhands import metrics

    with metrics.serve(server, "127.0.0.1:9108"):
        server.run()

The figures are read from the server's books and from the kernel when somebody scrapes them. All that is done
meanwhile is to count each connection that ends.

Raises
------
MissingExtra
    When it is imported, and prometheus-client is not installed.
"""

from collections.abc import Callable
from typing import Any

from manyhands.model.addresses import Address, parse
from manyhands.model.usage_errors import MissingExtra, Mistake

try:
    import prometheus_client as _client
except ImportError:
    raise MissingExtra("manyhands.metrics", "prometheus-client", "metrics") from None

from manyhands.metrics.collector import ServerCollector
from manyhands.metrics.exporter import Exporter
from manyhands.metrics.page import page_of

__all__ = ["Exporter", "ServerCollector", "collect", "serve"]


def collect(
    server: Any, registry: "_client.CollectorRegistry" = _client.REGISTRY
) -> Callable[[], None]:
    """Have a registry of a program's own collect a server's figures.

    Parameters
    ----------
    server : manyhands.Server or a server of `manyhands.socketserver`
        Whose; one for each registry, since the names of the figures are the same.
    registry : prometheus_client.CollectorRegistry
        The registry; prometheus-client's own by default.

    Returns
    -------
    callable
        Call it to end that.
    """
    collector = ServerCollector(server)
    registry.register(collector)

    def end() -> None:
        registry.unregister(collector)
        collector.close()

    return end


def serve(server: Any, address: str | Address) -> Exporter:
    """Let Prometheus scrape a server's figures, and the process's, over HTTP at ``/metrics``.

    Parameters
    ----------
    server : manyhands.Server or a server of `manyhands.socketserver`
        Whose figures. It may not be running yet.
    address : str or Address
        Where: ``127.0.0.1:9108``, ``[::1]:0``, or ``:9108`` for every interface; a port alone is one of
        127.0.0.1, since whoever can call may read. Port 0 takes a free one.

    Returns
    -------
    Exporter
        Its `addresses` tell the port; `close` it, or use it in a ``with``.

    Raises
    ------
    Mistake
        When it is no address of TCP.
    OSError
        When the address cannot be had; the text says what holds it.
    """
    where = address if isinstance(address, Address) else _parsed(address)
    if where.scheme != "tcp":
        raise Mistake(f"metrics are served on a tcp:// address, not on {where}")
    registry = _client.CollectorRegistry()
    _client.ProcessCollector(registry=registry)
    end = collect(server, registry)
    try:
        return Exporter(where, page_of(registry), end)
    except BaseException:
        end()
        raise


def _parsed(text: str) -> Address:
    # Exporters of others listen on every interface then; nothing here asks who reads.
    return parse(f"127.0.0.1:{text}" if text.isascii() and text.isdecimal() else text)
