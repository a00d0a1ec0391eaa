"""Which worker gets a connection, and what becomes of it: the rules, with the channels of one process."""

import json
import os
import resource
import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import NamedTuple

import pytest

from manyhands.connections.counted_registry import CountedRegistry
from manyhands.listening.endpoints import Endpoint
from manyhands.model.connection_states import Reason
from manyhands.serving.core import core_of
from manyhands.socketserver import BaseRequestHandler, TCPServer
from manyhands.supervisor.acceptor import Acceptor
from manyhands.supervisor.channels import Listening, channels_of
from manyhands.supervisor.dealer import Dealer
from manyhands.supervisor.record_link import MOST_UNSENT
from manyhands.supervisor.worker import State, Worker
from manyhands.supervisor.worker_deals import MOST_IN_FLIGHT, Dealt
from manyhands.workers.dealt_socket import DealtSocket
from manyhands.workers.records import LONGEST, Handed, Kind, pack, pack_handed
from manyhands.workers.shared_page import SharedPage, Slot

ENDPOINT = Endpoint(
    socket.AF_INET, socket.SOCK_STREAM, ("127.0.0.1", 80), is_dual_stack=False, is_tls=False
)
REASONS = [reason.value for reason in Reason]


class Returned:
    """What a worker gives back, and tells."""

    def __init__(self, link: socket.socket) -> None:
        self._link = link

    def give_back(self, place: int) -> None:
        self._link.send(pack(Kind.RETURNED, place))

    def tell_of_room(self) -> None:
        self._link.send(pack(Kind.ROOM))


class Process(NamedTuple):
    """A worker, and its own side of it."""

    worker: Worker
    link: socket.socket
    slot: Slot
    dealt: DealtSocket
    hand_overs: socket.socket

    def begin(self) -> int:
        """Take what was dealt to it, and drop it; return its place."""
        descriptor, _ = self.dealt._accept()
        os.close(descriptor)
        return self.dealt.accepted.pop()[0]

    def tell(self, *records: bytes) -> None:
        self.link.sendall(b"".join(records))

    def hand_back(self, *places: int) -> None:
        """Hand back connections that it has begun."""
        ends = os.pipe()
        for place in places:
            message = pack_handed(Handed(place, 0, ("192.0.2.1", 4711)))
            socket.send_fds(self.hand_overs, [message], ends)
        for each in ends:
            os.close(each)


class Supervisor:
    """Deals to workers of this process."""

    def __init__(self, undo: ExitStack, count: int) -> None:
        self.books = CountedRegistry()
        self.told: list[int] = []
        self.dealer = Dealer(self.books, lambda _, record: self.told.append(record.kind))
        page = SharedPage()
        undo.callback(page.close)
        self.processes = [self._process(undo, page, number) for number in range(1, count + 1)]
        self.dealer.deal_to(each.worker for each in self.processes)
        undo.callback(self.dealer.refuse_undealt)

    @staticmethod
    def _process(undo: ExitStack, page: SharedPage, number: int) -> Process:
        with channels_of([Listening(ENDPOINT, is_given=False)], number) as (here, there):
            worker = Worker(number, 1, (page.slot(number), number), here)
            link = undo.enter_context(
                socket.socket(socket.AF_UNIX, socket.SOCK_STREAM, 0, os.dup(there.link))
            )
            hand_overs = undo.enter_context(
                socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET, 0, os.dup(there.hand_overs))
            )
            channel = os.dup(there.listeners[0].endpoint.descriptor)
        slot = page.slot(number)
        dealt = DealtSocket(channel, socket.AF_INET, ("127.0.0.1", 80), 0, slot, Returned(link))
        undo.enter_context(dealt)
        undo.callback(worker.close_copies)
        worker.learn({"reasons": REASONS, "resumes": True})
        return Process(worker, link, slot, dealt, hand_overs)

    def deal(self) -> None:
        """Deal a connection."""
        worker = self.dealer.choose()
        assert worker is not None
        descriptor = os.open("/dev/null", os.O_RDONLY | os.O_CLOEXEC)
        address = ("192.0.2.1", 4711)
        self.dealer.deal(worker, Dealt(self.books.begin(), descriptor, address, 0, 0), None)

    def closed(self) -> dict[str, int]:
        return {reason.value: count for reason, count in self.books.closed.items() if count}


@pytest.fixture
def undo() -> Iterator[ExitStack]:
    with ExitStack() as stack:
        yield stack


def test_the_worker_with_the_fewest_connections_is_next_and_of_several_the_one_that_has_had_fewest(
    undo: ExitStack,
) -> None:
    supervisor = Supervisor(undo, 3)
    for _ in range(7):
        supervisor.deal()
    assert [each.worker.deals.open for each in supervisor.processes] == [3, 2, 2]
    first = supervisor.processes[0]
    first.tell(*(pack(Kind.ENDED, first.begin()) for _ in range(2)))
    supervisor.dealer.hear(first.worker)
    supervisor.deal()
    assert [each.worker.deals.open for each in supervisor.processes] == [2, 2, 2]
    supervisor.deal()
    assert [each.worker.deals.open for each in supervisor.processes] == [2, 3, 2]


def test_a_worker_that_begins_nothing_gets_no_more_than_its_credits(undo: ExitStack) -> None:
    supervisor = Supervisor(undo, 1)
    for _ in range(MOST_IN_FLIGHT):
        supervisor.deal()
    assert supervisor.dealer.choose() is None
    assert not supervisor.dealer.has_room()
    [process] = supervisor.processes
    assert process.slot.is_awaited
    process.begin()
    assert supervisor.dealer.choose() is process.worker
    supervisor.dealer.hear(process.worker)
    assert not process.slot.is_awaited


def test_a_worker_that_rests_is_passed_over(undo: ExitStack) -> None:
    supervisor = Supervisor(undo, 2)
    supervisor.processes[0].worker.rests_until = time.monotonic() + 1000
    for _ in range(3):
        supervisor.deal()
    assert [each.worker.deals.open for each in supervisor.processes] == [0, 3]


def test_of_a_dead_worker_what_it_had_begun_has_ended_and_the_rest_is_dealt_again(
    undo: ExitStack,
) -> None:
    supervisor = Supervisor(undo, 2)
    for _ in range(8):
        supervisor.deal()
    victim, heir = supervisor.processes
    victim.begin()
    assert supervisor.dealer.take_over_from(victim.worker) == ([1], 3)
    assert supervisor.closed() == {"worker_died": 1}
    assert heir.worker.deals.open == len(supervisor.books) == 7
    assert sorted(heir.begin() for _ in range(7)) == [2, 3, 4, 5, 6, 7, 8]


def test_what_a_worker_has_no_descriptor_for_is_dealt_to_another_and_nothing_is_begun_twice(
    undo: ExitStack,
) -> None:
    supervisor = Supervisor(undo, 2)
    supervisor.deal()
    poor, rich = supervisor.processes
    _take_without_descriptor(poor)
    supervisor.dealer.hear(poor.worker)
    assert (poor.worker.deals.open, rich.worker.deals.open) == (0, 1)
    assert rich.begin() == 1
    supervisor.dealer.take_over_from(poor.worker)
    assert len(supervisor.books) == 1


def test_what_a_dead_worker_had_returned_without_a_word_is_not_dealt_again(undo: ExitStack) -> None:
    supervisor = Supervisor(undo, 2)
    for _ in range(4):
        supervisor.deal()
    victim, _ = supervisor.processes
    victim.begin()
    # It has counted one as returned, and has died before it could tell which.
    victim.slot.note_returned()
    victim.slot.note_begun(0)
    assert supervisor.dealer.take_over_from(victim.worker) == ([1, 3], 0)
    assert len(supervisor.books) == 2


def _take_without_descriptor(process: Process) -> None:
    """Have a worker find that it has no descriptor: the kernel drops what it cannot take (unix(7))."""
    message, *_ = process.dealt.recvmsg(512)
    place = int.from_bytes(message[:8])
    process.slot.note_returned()
    process.tell(pack(Kind.RETURNED, place))
    process.slot.note_begun(0)


# What is handed back


@contextmanager
def descriptors_left(count: int) -> Iterator[None]:
    """Let this process open so many descriptors."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    free = []
    with ExitStack() as probes:
        for _ in range(count + 1):
            free.append(os.dup(0))
            probes.callback(os.close, free[-1])
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(free), hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def handed_back(undo: ExitStack) -> tuple[Supervisor, Process, Process]:
    """Have a worker hand back two connections, which another one is to take that has two others."""
    supervisor = Supervisor(undo, 2)
    for _ in range(4):
        supervisor.deal()
    old, new = supervisor.processes
    places = [old.begin(), old.begin()]
    supervisor.dealer.deal_to([new.worker])
    old.hand_back(*places)
    return supervisor, old, new


@pytest.mark.parametrize("count", [0, 1])
def test_what_is_handed_back_waits_until_there_are_descriptors_for_it(
    undo: ExitStack, count: int
) -> None:
    supervisor, old, new = handed_back(undo)
    with descriptors_left(count):
        assert not supervisor.dealer.take_handed(old.worker)
        assert not supervisor.dealer.take_rest_handed(old.worker)
        assert not supervisor.dealer.take_handed(old.worker)
    assert not old.worker.failure
    assert old.worker.deals.open == new.worker.deals.open == 2
    all_taken = []
    supervisor.dealer.on_handed = all_taken.append
    supervisor.dealer.look([old.worker, new.worker])
    assert all_taken == [old.worker]
    assert sorted(new.begin() for _ in range(4)) == [1, 2, 3, 4]
    assert supervisor.closed() == {}


def test_one_whose_descriptors_another_thread_has_taken_is_cut_off_and_the_next_ones_go_on(
    undo: ExitStack, monkeypatch: pytest.MonkeyPatch
) -> None:
    supervisor, old, new = handed_back(undo)
    with monkeypatch.context() as patch, descriptors_left(1):
        # There were two when it was looked.
        patch.setattr("manyhands.supervisor.worker_deals._find_two_descriptors", lambda _: None)
        handed = old.worker.deals.receive_handed()
    assert handed is not None
    supervisor.dealer._take_from(old.worker, handed)
    assert supervisor.dealer.take_handed(old.worker)
    assert not old.worker.failure
    assert supervisor.closed() == {"cut_off": 1}
    assert new.worker.deals.open == len(supervisor.books) == 3


def test_of_a_listener_that_a_worker_has_not_nothing_is_taken_from_it(undo: ExitStack) -> None:
    supervisor = Supervisor(undo, 1)
    supervisor.deal()
    worker = supervisor.processes[0].worker
    assert worker.deals.take_unbegun(1) == []
    assert worker.deals.in_flight == worker.deals.open == 1


def test_what_is_handed_back_goes_to_nobody_who_cannot_resume_it(undo: ExitStack) -> None:
    supervisor, old, new = handed_back(undo)
    new.worker.resumes = False
    old.worker.state = State.SERVING
    supervisor.dealer.deal_to([new.worker], [old.worker])
    assert supervisor.dealer.take_handed(old.worker)
    # Where it comes from they know it.
    assert old.worker.deals.open == 2
    assert sorted([old.begin(), old.begin()]) == [1, 3]
    # Those are on their way once more, and there is no one else.
    supervisor.dealer.deal_to([new.worker])
    old.hand_back(1, 3)
    assert supervisor.dealer.take_handed(old.worker)
    assert supervisor.closed() == {"cut_off": 2}
    assert new.worker.deals.open == 2
    assert sorted([new.begin(), new.begin()]) == [2, 4]


def test_nonsense_that_one_worker_hands_back_is_not_held_against_another_one(
    undo: ExitStack,
) -> None:
    supervisor = Supervisor(undo, 2)
    liar, other = supervisor.processes
    liar.hand_overs.send(b"no connection")
    supervisor.dealer.deal_to([])
    assert not supervisor.dealer.take_handed(liar.worker)
    supervisor.dealer.deal_to([other.worker])
    other.tell(pack(Kind.ROOM))
    supervisor.dealer.hear(other.worker)
    assert "cannot be read" in liar.worker.failure
    assert not other.worker.failure


# What is accepted


class Accepting:
    """Accepts on a listener, and deals to one worker of this process."""

    def __init__(self, undo: ExitStack, **limits: int) -> None:
        self.supervisor = Supervisor(undo, 1)
        [self.process] = self.supervisor.processes
        self.server = undo.enter_context(TCPServer(("127.0.0.1", 0), BaseRequestHandler))
        self.server.socket.setblocking(False)
        for name, value in limits.items():
            setattr(self.server, name, value)
        core = core_of(self.server)
        core.options.follow_limits(self.server)
        dealer, worker = self.supervisor.dealer, self.process.worker
        self._acceptor = Acceptor(dealer, self.supervisor.books, lambda: dealer.take_ended(worker))
        self._undo = undo

    def call(self) -> bool:
        """Have a client call; tell whether it is dealt."""
        self._undo.enter_context(socket.create_connection(self.server.server_address))
        before = self.process.worker.deals.count
        assert self._acceptor.take_from(self.server, 0)
        return self.process.worker.deals.count > before


def test_an_end_that_is_noted_makes_room_for_the_next_client(undo: ExitStack) -> None:
    accepting = Accepting(undo, max_connections_per_ip=1)
    assert accepting.call()
    place = accepting.process.begin()
    assert not accepting.call()
    accepting.process.slot.ended.note(place, REASONS.index("peer_closed"))
    assert accepting.call()
    assert accepting.supervisor.closed() == {"peer_closed": 1}


def test_ends_are_counted_by_the_ring_and_by_the_link(undo: ExitStack) -> None:
    [process] = (supervisor := Supervisor(undo, 1)).processes
    for _ in range(3):
        supervisor.deal()
    first, second, third = (process.begin() for _ in range(3))
    idle = REASONS.index("idle")
    process.slot.ended.note(first, idle)
    # Told twice, it counts once.
    process.tell(pack(Kind.ENDED, first, reason=idle), pack(Kind.ENDED, second, reason=idle))
    assert supervisor.dealer.take_ended(process.worker) == 1
    supervisor.dealer.hear(process.worker)
    assert supervisor.closed() == {"idle": 2}
    process.slot.ended.note(third, idle)
    # What it has noted last is counted when it has ended.
    assert supervisor.dealer.take_over_from(process.worker) == ([], 0)
    assert supervisor.closed() == {"idle": 3}


# What a worker may tell whose memory its program has spoilt


def test_a_worker_that_says_it_has_begun_too_much_harms_no_other(undo: ExitStack) -> None:
    supervisor = Supervisor(undo, 2)
    for _ in range(2):
        supervisor.deal()
    liar, other = supervisor.processes
    for _ in range(100):
        liar.slot.note_begun(0)
    assert liar.worker.deals.settle() == 0
    assert supervisor.dealer.take_over_from(liar.worker) == ([1], 0)
    assert other.worker.deals.open == len(supervisor.books) == 1


def test_an_end_is_counted_once_whatever_a_worker_tells(undo: ExitStack) -> None:
    supervisor = Supervisor(undo, 2)
    for _ in range(4):
        supervisor.deal()
    liar, other = supervisor.processes
    # Of its own, not begun and told twice; of another's; of none at all.
    liar.tell(*(pack(Kind.ENDED, place) for place in (1, 1, 2, 99)))
    supervisor.dealer.hear(liar.worker)
    assert len(supervisor.books) == 3
    assert supervisor.dealer.take_over_from(liar.worker) == ([], 1)
    assert len(supervisor.books) == other.worker.deals.open == 3


@pytest.mark.parametrize(
    "said",
    [
        b"\xff" * 16,
        pack(Kind.IDENTIFY, 1, b"no JSON"),
        pack(Kind.READY, 0, b"[]"),
        pack(Kind.ENDED, 1, reason=255),
    ],
)
def test_nonsense_leaves_the_books_balanced(undo: ExitStack, said: bytes) -> None:
    supervisor = Supervisor(undo, 2)
    for _ in range(4):
        supervisor.deal()
    liar, other = supervisor.processes
    liar.tell(said)
    supervisor.dealer.take_over_from(liar.worker)
    assert len(supervisor.books) == other.worker.deals.open
    assert supervisor.books.accepted == 4


def test_a_worker_that_does_not_read_is_known_by_what_waits_for_it(undo: ExitStack) -> None:
    [process] = Supervisor(undo, 1).processes
    body = json.dumps("x" * (LONGEST - 2)).encode()
    for _ in range(MOST_UNSENT // LONGEST + 16):
        process.worker.link.say(Kind.STACKS, 0, body)
    assert process.worker.link.is_deaf
    process.link.setblocking(False)
    while process.worker.link.is_behind:
        process.link.recv(1 << 20)
        process.worker.link.flush()
    assert not process.worker.link.is_deaf


def test_a_worker_that_hangs_up_is_heard_no_more(undo: ExitStack) -> None:
    [process] = Supervisor(undo, 1).processes
    process.link.close()
    assert list(process.worker.link.hear()) == []
    assert process.worker.link.has_hung_up


def test_a_full_deal_channel_has_its_connections_dealt_elsewhere_and_is_tried_again(
    undo: ExitStack,
) -> None:
    supervisor = Supervisor(undo, 2)
    full, other = supervisor.processes
    [channel] = full.worker.deals.channels
    assert channel is not None
    # A message takes some hundred bytes of the kernel's (sk_buff), and the least buffer has a few of them.
    channel.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 0)
    for _ in range(40):
        supervisor.deal()
    taken = full.worker.deals.in_flight
    assert 0 < taken < 20
    assert other.worker.deals.in_flight == 40 - taken
    assert full.worker.rests_until > time.monotonic()
    # Nothing was dealt twice, and nothing has got lost.
    places = [full.begin() for _ in range(taken)] + [other.begin() for _ in range(40 - taken)]
    assert sorted(places) == list(range(1, 41))
    with pytest.raises(BlockingIOError):
        full.begin()
    full.worker.rests_until = 0.0
    supervisor.dealer.look(each.worker for each in supervisor.processes)
    supervisor.deal()
    assert full.worker.deals.in_flight == 1


def test_where_all_deal_channels_are_full_what_has_come_waits_and_is_dealt_later(
    undo: ExitStack,
) -> None:
    supervisor = Supervisor(undo, 1)
    [process] = supervisor.processes
    [channel] = process.worker.deals.channels
    assert channel is not None
    channel.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 0)
    while not supervisor.dealer.has_undealt:
        supervisor.deal()
    count = len(supervisor.books)
    assert supervisor.dealer.choose() is None
    assert not supervisor.dealer.has_room()
    assert supervisor.dealer.seconds_left([process.worker]) is not None
    places = [process.begin() for _ in range(count - 1)]
    process.worker.rests_until = 0.0
    supervisor.dealer.look([process.worker])
    assert not supervisor.dealer.has_undealt
    assert [*places, process.begin()] == list(range(1, count + 1))
