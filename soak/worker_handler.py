"""The handler that the workers of a soak serve."""

import os

from manyhands import StreamRequestHandler

_worker: list[int] = []
"""The process of this worker, which on the engine `processes` is not that of the handler."""


def _note_worker() -> None:
    # The first fork is that of the worker, which its template makes; the next ones are of its own handlers.
    if not _worker:
        _worker.append(os.getpid())


os.register_at_fork(after_in_child=_note_worker)


class Echo(StreamRequestHandler):
    """Sends every line back; to ``who`` it says the process of its worker."""

    def handle(self) -> None:
        """Serve until the client says that no more comes."""
        for line in self.rfile:
            self.wfile.write(b"%d\n" % _worker[0] if line == b"who\n" else line)
