"""Accepts and deals, and does nothing else: what the supervisor's dealing is compared with.

``bare_dealer.py WORKERS`` prints its port. No limits, no books, no second try: one `accept`, one `sendmsg`
with the descriptor, one `close`; of each end a worker writes one byte back. Its workers echo by epoll(7).
"""

import contextlib
import os
import select
import socket
import sys

AT_ONCE = 64
"""Connections that are dealt before anything else is looked at."""


def work(channel: socket.socket) -> None:
    """Echo on what is dealt, for ever."""
    poller, peers = select.epoll(), dict[int, socket.socket]()
    poller.register(channel, select.EPOLLIN)
    while True:
        for descriptor, _ in poller.poll():
            if descriptor == channel.fileno():
                message, dealt, _, _ = socket.recv_fds(channel, 16, 1)
                if not message:
                    os._exit(0)
                for each in dealt:
                    peers[each] = socket.socket(fileno=each)
                    poller.register(each, select.EPOLLIN)
                continue
            data = b""
            with contextlib.suppress(OSError):
                data = peers[descriptor].recv(65536)
            if data:
                peers[descriptor].sendall(data)
            else:
                poller.unregister(descriptor)
                peers.pop(descriptor).close()
                channel.send(b"E")


def started() -> socket.socket:
    """Fork a worker; return the channel to it."""
    here, there = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    if os.fork() == 0:
        here.close()
        work(there)
    there.close()
    return here


def main(count: int) -> None:
    """Accept and deal, for ever."""
    channels = [started() for _ in range(count)]
    is_open = [0] * count
    listener = socket.create_server(("127.0.0.1", 0), backlog=1024)
    listener.setblocking(False)
    poller = select.epoll()
    for watched in (listener, *channels):
        poller.register(watched, select.EPOLLIN)
    numbers = {channel.fileno(): number for number, channel in enumerate(channels)}
    print(listener.getsockname()[1], flush=True)
    while True:
        for descriptor, _ in poller.poll():
            if descriptor != listener.fileno():
                number = numbers[descriptor]
                is_open[number] -= len(channels[number].recv(4096))
                continue
            for _ in range(AT_ONCE):
                try:
                    peer, _ = listener.accept()
                except BlockingIOError:
                    break
                number = min(range(count), key=is_open.__getitem__)
                is_open[number] += 1
                socket.send_fds(channels[number], [b"C"], [peer.fileno()])
                peer.close()


if __name__ == "__main__":
    main(int(sys.argv[1]))
