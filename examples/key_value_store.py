"""A key-value store with a protocol of lines, shared by all clients.

manyhands serve examples/key_value_store.py:KeyValue --bind tcp://127.0.0.1:8009

    SET name Anna        OK
    GET name             VALUE Anna
    DEL name             OK
    KEYS                 KEYS 0
    QUIT                 BYE

Any other line is answered with ``ERROR`` and a reason; the connection goes on.
"""

import functools
import threading

from manyhands import StreamRequestHandler, ThreadingTCPServer


class Store:
    """A dictionary that many threads may use at the same time."""

    def __init__(self) -> None:
        self._values: dict[str, str] = {}
        self._lock = threading.Lock()

    def set(self, key: str, value: str) -> str:
        """Keep `value` under `key`."""
        with self._lock:
            self._values[key] = value
        return "OK"

    def get(self, key: str) -> str:
        """Answer the value under `key`."""
        with self._lock:
            return f"VALUE {self._values[key]}" if key in self._values else "NONE"

    def delete(self, key: str) -> str:
        """Forget `key`."""
        with self._lock:
            return "NONE" if self._values.pop(key, None) is None else "OK"

    def keys(self) -> str:
        """Answer the number of keys and their names."""
        with self._lock:
            return " ".join(["KEYS", str(len(self._values)), *sorted(self._values)])


class Conversation(StreamRequestHandler):
    """Serves one client; the program that makes the server passes `store`."""

    store: Store

    def handle(self) -> None:
        for line in self.rfile:
            answer = self.answer(line.decode(errors="replace").strip())
            self.wfile.write(f"{answer}\n".encode())
            if answer == "BYE":
                return

    def answer(self, line: str) -> str:
        """Return the answer to one line."""
        match line.split(maxsplit=2):
            case ["SET", key, value]:
                return self.store.set(key, value)
            case ["GET", key]:
                return self.store.get(key)
            case ["DEL", key]:
                return self.store.delete(key)
            case ["KEYS"]:
                return self.store.keys()
            case ["QUIT"]:
                return "BYE"
        return "ERROR say SET key value, GET key, DEL key, KEYS or QUIT"


# The handler carries its state: a partial works wherever a class does.
KeyValue = functools.partial(Conversation, store=Store())


if __name__ == "__main__":
    with ThreadingTCPServer(("127.0.0.1", 8009), KeyValue) as server:
        print("key-value store on {}:{}".format(*server.server_address), flush=True)
        server.serve_forever()
