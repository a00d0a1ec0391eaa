"""What reads a server's log, and for a while does not."""

import json
import threading
from typing import Any


class LogReader:
    """Reads the JSON lines of a log in a thread of its own.

    Attributes
    ----------
    lines : int
        How many there were.
    dropped : int
        How many the server has told of that it dropped.
    broken : list of str
        What was no such line.
    """

    def __init__(self, stream: Any) -> None:
        self._stream = stream
        self._reads = threading.Event()
        self._reads.set()
        self.lines = 0
        self.dropped = 0
        self.broken: list[str] = []
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def pause(self) -> None:
        """Read nothing: then the pipe is soon full."""
        self._reads.clear()

    def go_on(self) -> None:
        """Read again."""
        self._reads.set()

    def wait(self) -> None:
        """Wait for the log's end."""
        self.go_on()
        self._thread.join(60)

    def _run(self) -> None:
        for line in self._stream:
            self.lines += 1
            try:
                record = json.loads(line)
                if record.get("event") == "EventsDropped":
                    self.dropped += record["count"]
            except ValueError:
                self.broken.append(repr(line))
            self._reads.wait()
