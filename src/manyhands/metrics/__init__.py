"""What a server does, in figures for Prometheus (the extra ``metrics``).

::

    from manyhands import metrics

    with metrics.serve(server, "127.0.0.1:9108"):
        server.run()

The figures are read from the server's registry and from the kernel when they are scraped. All that is done
meanwhile is to count each connection that ends.

Raises
------
MissingExtra
    When it is imported, and prometheus-client is not installed.
"""

from collections.abc import Callable

from manyhands.http.any_server import AnyServer
from manyhands.http.health import pages_of
from manyhands.http.messages import Content, answering
from manyhands.http.page_address import page_address
from manyhands.http.server import PageServer
from manyhands.model.addresses import Address
from manyhands.model.usage_errors import MissingExtra

try:
    import prometheus_client as _client
except ImportError:
    raise MissingExtra("manyhands.metrics", "prometheus-client", "metrics") from None

# After that check, since these need it too.
from prometheus_client.exposition import choose_encoder

from manyhands.metrics.collector import Elsewhere, ServerCollector
from manyhands.metrics.workers import WorkerFigures

__all__ = ["Exporter", "ServerCollector", "collect", "serve"]

PATH = "/metrics"


class Exporter(PageServer):
    """Answers scrapes until it is closed. Thread-safe. `serve` makes it."""


def collect(
    server: AnyServer, registry: "_client.CollectorRegistry" = _client.REGISTRY
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


def serve(server: AnyServer, address: str | Address) -> Exporter:
    """Let Prometheus scrape a server's figures, and the process's, over HTTP at ``/metrics``.

    The pages of `manyhands.http.health` are there too: ``/healthz`` and ``/readyz``.

    Parameters
    ----------
    server : manyhands.Server or a server of `manyhands.socketserver`
        Whose figures. It may not be running yet.
    address : str or Address
        Where: ``127.0.0.1:9108``, ``[::1]:0``, or ``:9108`` for every interface; a port alone is one of
        127.0.0.1, since every client may read. Port 0 takes a free one.

    Returns
    -------
    Exporter
        Its `addresses` tell the port; `close` it, or use it in a ``with``.

    Raises
    ------
    Mistake
        When it is no address of TCP, or `server` is no server.
    OSError
        When the address cannot be had; the text says what holds it.
    """
    where = page_address(server, address, "metrics")
    collector = ServerCollector(server)
    figures = Figures(collector, collector.figures_elsewhere)
    try:
        pages = pages_of(server) | {PATH: lambda request: figures.page(request.accept)}
        return Exporter(where, answering(pages, f"the metrics are at {PATH}"), figures.close)
    except BaseException:
        figures.close()
        raise


class Figures:
    """The figures of one server, and of its process, as Prometheus reads them. Thread-safe.

    Parameters
    ----------
    collector
        Collects those of the server.
    elsewhere
        Returns those of its workers, if it has any now; without it only its own are told.
    """

    def __init__(
        self,
        collector: ServerCollector,
        elsewhere: "Callable[[], Elsewhere | None]" = lambda: None,
    ) -> None:
        self._collector = collector
        self._elsewhere = elsewhere
        self._of_workers = WorkerFigures()
        self._registry = _client.CollectorRegistry()
        _client.ProcessCollector(registry=self._registry)
        self._registry.register(collector)

    def page(self, accept: str = "") -> Content:
        """Return them in a format that the reader takes, by the words of its header ``Accept``."""
        try:
            encode, media_type = choose_encoder(accept)
        except Exception:  # noqa: BLE001 - of a client's words, such as a version that is no number
            encode, media_type = choose_encoder("")
        return Content(media_type, encode(self._all()))

    def _all(self) -> "_client.CollectorRegistry":
        elsewhere = self._elsewhere()
        if elsewhere is None:
            return self._registry
        own = _client.generate_latest(self._registry).decode()
        return self._of_workers.all_of_them(own, *elsewhere)

    def close(self) -> None:
        """Count for them no longer."""
        self._collector.close()
