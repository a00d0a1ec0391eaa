"""Many callers in one process, each holding a conversation: `python crowd.py PORT CALLERS LINES [FIRST]`.

Each caller says a line, hears the answer to it, and says the next one; all at the same time. With the last
line it waits for the line to all, and says goodbye when it has got that. Callers are numbered
from FIRST on. Prints a line when all have called, and then how many heard all answers, each in its turn.
"""

import selectors
import socket
import sys

TO_ALL = "to everybody"
"""What the operator says to all, in answer to each caller's last line."""


class Caller:
    """One caller."""

    def __init__(self, port: int, number: int, lines: int) -> None:
        self.socket = socket.create_connection(("127.0.0.1", port))
        self._to_hear: list[str] = []
        self._to_say = [f"{number} says 你好 {line}" for line in range(lines)]
        self._heard = b""
        self.has_heard_all = False

    def say(self) -> None:
        """Say the next line, or goodbye."""
        line = self._to_say.pop(0) if self._to_say else "byebye"
        self._to_hear.append(self._answer(line))
        self.socket.sendall(f"{line}\n".encode())

    def _answer(self, line: str) -> str:
        if line == "byebye":
            return "byebye"
        return f"answer to {line}" if self._to_say else TO_ALL

    def hear(self) -> bool:
        """Hear what there is; return whether the call goes on."""
        data = self.socket.recv(65536)
        self._heard += data
        while b"\n" in self._heard:
            line, self._heard = self._heard.split(b"\n", 1)
            if line.decode() != self._to_hear.pop(0):
                return False
            if line == b"byebye":
                self.has_heard_all = True
                return False
            self.say()
        return bool(data)


def main(port: int, callers: int, lines: int, first: int = 0) -> None:
    """Have them all call, and talk."""
    selector = selectors.DefaultSelector()
    crowd = [Caller(port, first + number, lines) for number in range(callers)]
    print("all have called", flush=True)
    for caller in crowd:
        selector.register(caller.socket, selectors.EVENT_READ, caller)
        caller.say()
    while selector.get_map():
        for key, _ in selector.select():
            if not key.data.hear():
                selector.unregister(key.fileobj)
    print(sum(caller.has_heard_all for caller in crowd))


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
