"""Sums over JSON: each message is a frame, its length in four bytes before it.

manyhands serve examples/json_frames.py:Sums --bind tcp://127.0.0.1:8010

    {"add": [1, 2, 3]}   {"sum": 6}
    anything else        {"error": ...}, and the connection goes on

A frame over 64 KiB, or one that takes more than a minute, ends the connection.
"""

import contextlib
import json
from typing import Any

from manyhands import FramedRequestHandler, ThreadingTCPServer
from manyhands.framing import FramingError


class Sums(FramedRequestHandler):
    """Answers each frame with a frame."""

    max_frame = 64 * 1024

    def handle(self) -> None:
        with contextlib.suppress(FramingError, TimeoutError):
            while (frame := self.read_frame(timeout=60)) is not None:
                self.write_frame(json.dumps(self.answer(frame)).encode())

    def answer(self, frame: bytes) -> dict[str, Any]:
        """Return the answer to one message."""
        try:
            return {"sum": sum(json.loads(frame)["add"])}
        except (ValueError, TypeError, KeyError, RecursionError) as error:
            return {"error": str(error) or type(error).__name__}


if __name__ == "__main__":
    with ThreadingTCPServer(("127.0.0.1", 8010), Sums) as server:
        print("sums on {}:{}".format(*server.server_address), flush=True)
        server.serve_forever()
