"""Fuzz what a supervisor reads of a worker, guided by coverage: ``python fuzz/worker_link.py [FOLDER]``.

Whatever a worker tells: the books stay balanced, no other worker's connection is touched, and what cannot be
read raises an exception, for which the supervisor ends that worker.
"""

import os
import socket
import sys

import atheris

with atheris.instrument_imports(include=["manyhands"]):
    from manyhands.connections.counted_registry import CountedRegistry
    from manyhands.listening.endpoints import Endpoint
    from manyhands.supervisor.channels import Listening, channels_of
    from manyhands.supervisor.dealer import Dealer
    from manyhands.supervisor.worker import Worker
    from manyhands.supervisor.worker_deals import Dealt
    from manyhands.workers.records import pack
    from manyhands.workers.shared_page import SharedPage

ENDPOINT = Endpoint(
    socket.AF_INET, socket.SOCK_STREAM, ("127.0.0.1", 80), is_dual_stack=False, is_tls=False
)
CONNECTIONS = 4
PAGE = SharedPage()


class Nonsense(Exception):  # noqa: N818 - what it is
    """The supervisor did what it never should."""


def said(provider: "atheris.FuzzedDataProvider") -> bytes:
    """Return bytes that are records, or not quite."""
    found = b""
    for _ in range(provider.ConsumeIntInRange(0, 8)):
        kind, place = provider.ConsumeIntInRange(0, 24), provider.ConsumeIntInRange(0, 6)
        reason = provider.ConsumeIntInRange(0, 255)
        found += pack(kind, place, provider.ConsumeBytes(provider.ConsumeIntInRange(0, 20)), reason)
    return found + provider.ConsumeBytes(provider.ConsumeIntInRange(0, 40))


def new_worker(number: int) -> tuple[Worker, list[int]]:
    """Return a worker, and the descriptors of its own side: link and deal channel."""
    slot = PAGE.slot(number)
    slot.clear()
    with channels_of([Listening(ENDPOINT, is_given=False)], number) as (here, there):
        worker = Worker(number, 1, (slot, number), here)
        return worker, [os.dup(there.link), os.dup(there.listeners[0].endpoint.descriptor)]


def hear(dealer: Dealer, worker: Worker) -> None:
    """Take what a worker has told, as the supervisor does."""
    try:
        dealer.hear(worker)
    except Exception as error:  # noqa: BLE001 - that is how it is told
        worker.distrust(error)


def test_one_input(data: bytes) -> None:
    """Have a worker tell, and die."""
    provider = atheris.FuzzedDataProvider(data)
    books = CountedRegistry()
    dealer = Dealer(books, lambda _worker, _record: None)
    (liar, link), (other, others) = new_worker(1), new_worker(2)
    dealer.deal_to([liar, other])
    for place in range(CONNECTIONS):
        descriptor = os.open(os.devnull, os.O_RDONLY)
        dealt = Dealt(books.begin(), descriptor, ("192.0.2.1", 1), 0, 0)
        dealer.deal((liar, other)[place % 2], dealt, None)
    for _ in range(provider.ConsumeIntInRange(0, 6)):
        liar.slot.note_begun(0)
    try:
        os.write(link[0], said(provider))
        hear(dealer, liar)
        if len(books) != liar.deals.open + other.deals.open or other.deals.open < CONNECTIONS // 2:
            raise Nonsense(
                f"{len(books)} are open, and {liar.deals.open} + {other.deals.open} known"
            )
        dealer.take_over_from(liar)
        accepted, _, closed = books.census()
        if len(books) != other.deals.open or accepted != len(books) + sum(closed.values()):
            raise Nonsense(f"{accepted} accepted, {len(books)} open, {closed}")
    finally:
        liar.close_copies()
        other.close_copies()
        dealer.close_copies()
        for each in [*link, *others]:
            os.close(each)


if __name__ == "__main__":
    atheris.Setup(sys.argv, test_one_input)
    atheris.Fuzz()
