"""A client of the desk in plain `socket`: python desk_client.py [HOST [PORT]], with `manyhands chat` running.

It sends what you type to the desk and prints the desk's lines as they come; `byebye` ends the call.
"""

import socket
import sys
import threading


def listen(desk: socket.socket) -> None:
    for line in desk.makefile(encoding="utf-8", errors="replace"):
        print("".join(c if c.isprintable() else "?" for c in line.rstrip("\n")), flush=True)


def main(host: str = "127.0.0.1", port: str = "8008") -> None:
    with socket.create_connection((host, int(port))) as desk:
        listener = threading.Thread(target=listen, args=[desk], daemon=True)
        listener.start()
        for line in sys.stdin:
            desk.sendall(line.encode())
            if line.strip().lower() == "byebye":
                break
        listener.join()


if __name__ == "__main__":
    main(*sys.argv[1:])
