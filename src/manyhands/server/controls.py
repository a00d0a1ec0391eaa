"""A `manyhands.Server` as its operators see it."""

from collections.abc import Callable, Mapping, Sequence

from manyhands.config.option import Option
from manyhands.model.usage_errors import Mistake
from manyhands.server.option_attributes import ADJUSTABLE
from manyhands.server.served_sockets import ServedSockets
from manyhands.serving.controls import ServerControls, name_of_handler
from manyhands.serving.request_hooks import Listener


class OfServer(ServerControls):
    """What operators may ask of one `manyhands.Server`, and have it do.

    Parameters
    ----------
    sockets
        The half of the server that serves.
    handler
        What serves its connections.
    """

    def __init__(self, sockets: ServedSockets, handler: object) -> None:
        super().__init__(sockets.group.core, "Server")
        self._sockets = sockets
        self._handler = handler

    @property
    def end_process(self) -> Callable[[], object] | None:
        """What ends a process that is there for more than its `manyhands.Server`, which drains then."""
        return self._sockets.end_process

    @end_process.setter
    def end_process(self, end: Callable[[], object]) -> None:
        self._sockets.end_process = end

    @property
    def handler(self) -> str:
        """The name of what serves its connections."""
        return name_of_handler(self._handler)

    @property
    def listeners(self) -> Sequence[Listener]:
        """The drop-in servers that it consists of."""
        return tuple(self._sockets.group.listeners)

    @property
    def certificates(self) -> Mapping[str, float]:
        """When each of its certificates expires."""
        return self._sockets.certificates_expire

    @property
    def is_stopping(self) -> bool:
        """Whether it has been asked to stop, and has not come to its end."""
        return self._sockets.is_stopping or super().is_stopping

    @property
    def adjustable(self) -> Mapping[str, Option]:
        """The options that may be changed while it serves."""
        return ADJUSTABLE

    def value_of(self, name: str) -> object:
        """Return what an option is now."""
        value: object = self._sockets.options[name]
        return value

    def adjust(self, values: Mapping[str, object]) -> None:
        """Change options, all or none."""
        self._sockets.options.change(**values)

    def wake(self) -> None:
        """Have the accept loop look at its listeners again."""
        self._sockets.notice()

    def _drain(self, timeout: float | None) -> None:
        run = self._sockets.current_run
        if self.end_process is None and not run.is_under_way:
            raise Mistake("the server does not serve")
        if timeout is not None:
            run.drain_in(timeout)
        if self.end_process is not None:
            self.end_process()
            return
        run.stop()
        if run.runner is None:
            # `start` has started it: no thread waits for its end, which closes it.
            self.start_thread(self._sockets.drain)

    def reload(self) -> str:
        """Read the certificates again."""
        tls = self._sockets.tls
        if tls is None or not tls.can_reload:
            raise Mistake("there is nothing to reload: the server has no certificates of files")
        if not tls.reload():
            raise Mistake(f"the old certificates are kept: {tls.why_not_reloaded}")
        return "certificates"
