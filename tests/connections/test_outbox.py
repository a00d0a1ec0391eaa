"""The outbox of a connection: its rules, with a peer that takes what the test says."""

import threading
from collections import deque
from collections.abc import Iterator

import pytest

from manyhands import Mistake
from manyhands.connections.outbox import Outbox
from manyhands.connections.outbox_queue import DirectWrite
from manyhands.connections.outbox_terms import check_length
from manyhands.connections.outbox_writer import outbox_writer
from tests.support.waiting import PATIENCE, wait_until


class Peer:
    """Takes so many bytes at each send; and what the server's options say."""

    def __init__(self, when_behind: str = "close", bound: int = 4096) -> None:
        self.room: deque[int] = deque()
        self.heard = b""
        self.is_gone = False
        self.lags: list[tuple[int, bool]] = []
        self._terms = bound, when_behind

    def send(self, data: bytes | memoryview, flags: int) -> int:
        if self.is_gone:
            raise BrokenPipeError
        room = self.room.popleft() if self.room else 0
        if not room:
            raise BlockingIOError
        taken = bytes(data[:room])
        self.heard += taken
        return len(taken)

    def outbox_terms(self) -> tuple[int, str]:
        return self._terms

    def fell_behind(self, waiting: int, *, is_over: bool) -> None:
        self.lags.append((waiting, is_over))


class Watched:
    """In the place of the thread that writes: the test says when the peer reads."""

    def __init__(self) -> None:
        self.watched: list[object] = []
        self.has_threads = True

    def watch(self, outbox: object) -> None:
        if not self.has_threads:
            raise RuntimeError("can't start new thread")
        self.watched.append(outbox)

    def forget(self, outbox: object) -> None:
        self.watched = [each for each in self.watched if each is not outbox]


@pytest.fixture
def watched(monkeypatch: pytest.MonkeyPatch) -> Iterator[Watched]:
    stand_in = Watched()
    monkeypatch.setattr(outbox_writer, "watch", stand_in.watch)
    monkeypatch.setattr(outbox_writer, "forget", stand_in.forget)
    return stand_in


def made(peer: Peer, *, keeps_attempts: bool = False) -> Outbox:
    return Outbox(peer.send, 7, peer, keeps_attempts=keeps_attempts)


def flushed(outbox: Outbox, peer: Peer, *rooms: int) -> bytes:
    before = len(peer.heard)
    peer.room.extend(rooms)
    outbox.flush()
    return peer.heard[before:]


def test_a_piece_goes_out_at_once_where_the_peer_takes_it(watched: Watched) -> None:
    peer = Peer()
    outbox = made(peer)
    peer.room.append(100)
    assert outbox.put(b"hello")
    assert (peer.heard, outbox.waiting, watched.watched) == (b"hello", 0, [])


def test_what_the_peer_does_not_take_waits_and_goes_out_in_order(watched: Watched) -> None:
    peer = Peer()
    outbox = made(peer)
    peer.room.append(3)
    assert all(outbox.put(piece) for piece in (b"first ", b"second ", b"third"))
    assert (peer.heard, outbox.waiting) == (b"fir", 15)
    assert watched.watched == [outbox]
    assert flushed(outbox, peer, 2, 1, 4) == b"st seco"
    assert flushed(outbox, peer, 100, 100) == b"nd third"
    assert outbox.waiting == 0


def test_a_piece_that_comes_while_others_wait_does_not_overtake_them(watched: Watched) -> None:
    peer = Peer()
    outbox = made(peer)
    outbox.put(b"first")
    peer.room.append(100)
    outbox.put(b"second")
    assert peer.heard == b""
    assert flushed(outbox, peer, 100) == b"firstsecond"


def test_a_full_outbox_ends_and_says_so_once(watched: Watched) -> None:
    peer = Peer("close")
    outbox = made(peer)
    assert outbox.put(bytes(4000))
    assert not outbox.put(bytes(97))
    assert not outbox.put(b"more")
    assert (outbox.is_over, outbox.ended_unread) == (True, True)
    assert peer.lags == [(4000, True)]
    assert outbox.missed == 1


def test_an_outbox_may_be_filled_to_the_last_byte(watched: Watched) -> None:
    peer = Peer("close")
    outbox = made(peer)
    assert outbox.put(bytes(4000))
    assert outbox.put(bytes(96))
    assert not outbox.is_over


def test_the_newest_pieces_are_dropped_counted_and_told_of_once(watched: Watched) -> None:
    peer = Peer("drop_new")
    outbox = made(peer)
    assert outbox.put(b"a" * 4000)
    assert not outbox.put(b"b" * 97)
    assert not outbox.put(b"c" * 97)
    assert outbox.put(b"d" * 96)
    assert outbox.missed == 2
    assert peer.lags == [(4000, False)]
    assert flushed(outbox, peer, 5000, 5000) == b"a" * 4000 + b"d" * 96


def test_the_oldest_pieces_are_dropped_and_counted(watched: Watched) -> None:
    peer = Peer("drop_oldest")
    outbox = made(peer)
    for letter in (b"a", b"b", b"c"):
        assert outbox.put(letter * 2000)
    assert outbox.missed == 1
    assert peer.lags == [(4000, False)]
    assert flushed(outbox, peer, 5000) == b"b" * 2000 + b"c" * 2000


def test_a_piece_that_is_begun_is_never_dropped(watched: Watched) -> None:
    peer = Peer("drop_oldest")
    outbox = made(peer)
    peer.room.append(1)
    outbox.put(b"a" * 3000)
    outbox.put(b"b" * 1000)
    assert outbox.put(b"c" * 1000)
    # Without the place of the first one there is not enough for it.
    assert not outbox.put(b"d" * 2000)
    flushed(outbox, peer, 5000, 5000)
    assert peer.heard == b"a" * 3000 + b"c" * 1000
    assert outbox.missed == 2


def test_a_writer_keeps_its_place_when_pieces_before_it_are_dropped(watched: Watched) -> None:
    peer = Peer("drop_oldest")
    outbox = made(peer)
    outbox.put(b"a" * 2000)
    thread, writes = held_in_thread(outbox)
    wait_until(lambda: outbox.is_waited_for)
    outbox.put(b"b" * 2000)
    outbox.put(b"c" * 1000)
    outbox.flush()
    thread.join(PATIENCE)
    (write,) = writes
    assert write is not None
    peer.room.append(5000)
    outbox.end_write(write)
    assert peer.heard == b"b" * 2000 + b"c" * 1000


def test_empty_pieces_take_no_memory(watched: Watched) -> None:
    outbox = made(Peer())
    outbox.put(b"waits")
    assert outbox.put(b"")
    assert outbox.pieces_waiting == 1


def test_an_attempt_that_took_nothing_is_kept_where_it_has_to_be_repeated(watched: Watched) -> None:
    peer = Peer("drop_oldest")
    outbox = made(peer, keeps_attempts=True)
    outbox.put(b"a" * 3000)
    outbox.put(b"b" * 1000)
    outbox.put(b"c" * 1000)
    assert flushed(outbox, peer, 5000, 5000) == b"a" * 3000 + b"c" * 1000


def test_a_piece_that_could_never_wait_goes_out_whole_where_nothing_is_before_it(
    watched: Watched,
) -> None:
    peer = Peer()
    outbox = made(peer)
    peer.room.append(1)
    assert outbox.put(b"a" * 5000)
    assert not outbox.put(b"b" * 5000)
    assert outbox.ended_unread
    with pytest.raises(Mistake, match="4097 bytes fits into no outbox of 4096"):
        check_length(bytes(4097), 4096)


def test_an_outbox_whose_peer_has_gone_takes_nothing_more(watched: Watched) -> None:
    peer = Peer()
    outbox = made(peer)
    peer.is_gone = True
    assert not outbox.put(b"hello")
    peer.is_gone = False
    peer.room.append(100)
    assert not outbox.put(b"hello")
    assert (peer.heard, peer.lags, outbox.ended_unread) == (b"", [], False)


def test_without_a_thread_what_waits_ends_the_outbox(watched: Watched) -> None:
    peer = Peer("drop_new")
    outbox = made(peer)
    watched.has_threads = False
    assert not outbox.put(b"hello")
    assert peer.lags == [(5, True)]
    assert outbox.ended_unread


def test_without_a_thread_a_piece_that_is_begun_ends_the_outbox(watched: Watched) -> None:
    peer = Peer("drop_new")
    outbox = made(peer)
    watched.has_threads = False
    peer.room.append(1)
    assert not outbox.put(b"hello")
    assert peer.lags == [(4, True)]


def test_one_outbox_sends_its_share_and_leaves_the_turn_to_others(watched: Watched) -> None:
    peer = Peer(bound=1_000_000)
    outbox = made(peer)
    for _ in range(300):
        outbox.put(bytes(1000))
    watched.watched.clear()
    sent = flushed(outbox, peer, *[1_000_000] * 300)
    assert 60_000 < len(sent) < 140_000
    assert watched.watched == [outbox]


def held_in_thread(outbox: Outbox) -> tuple[threading.Thread, list[DirectWrite | None]]:
    writes: list[DirectWrite | None] = []
    thread = threading.Thread(target=lambda: writes.append(outbox.begin_write(PATIENCE)))
    thread.start()
    return thread, writes


def test_a_writer_has_its_turn_after_what_was_put_before_it(watched: Watched) -> None:
    peer = Peer()
    outbox = made(peer)
    outbox.put(b"before ")
    thread, writes = held_in_thread(outbox)
    wait_until(lambda: outbox.is_waited_for)
    outbox.put(b"after")
    assert flushed(outbox, peer, 100, 100) == b"before "
    thread.join(PATIENCE)
    (write,) = writes
    assert write is not None
    outbox.put(b" it")
    assert flushed(outbox, peer) == b""
    peer.heard += b"[its own] "
    peer.room.append(100)
    outbox.end_write(write)
    assert peer.heard == b"before [its own] after it"


def test_a_writer_that_has_the_turn_gets_no_second_one(watched: Watched) -> None:
    outbox = made(Peer())
    write = outbox.begin_write(None)
    assert write is not None
    assert outbox.begin_write(0.0) is None
    outbox.end_write(write)
    outbox.end_write(write)


def test_a_turn_that_does_not_come_in_time_is_forgotten(watched: Watched) -> None:
    peer = Peer()
    outbox = made(peer)
    outbox.put(b"waits")
    with pytest.raises(TimeoutError):
        outbox.begin_write(0.0)
    outbox.put(b" and goes")
    assert flushed(outbox, peer, 100) == b"waits and goes"


def test_the_next_write_goes_on_with_a_message_that_is_half_sent_in_whichever_thread(
    watched: Watched,
) -> None:
    peer = Peer()
    outbox = made(peer)
    write = outbox.begin_write(None)
    assert write is not None
    outbox.keep_write(write)
    outbox.put(b"piece")
    thread, writes = held_in_thread(outbox)
    thread.join(PATIENCE)
    assert writes == [write]
    peer.room.append(100)
    outbox.end_write(write)
    assert peer.heard == b"piece"


def test_a_writer_that_waits_goes_on_with_a_message_whose_writer_stops(watched: Watched) -> None:
    outbox = made(Peer())
    write = outbox.begin_write(None)
    assert write is not None
    thread, writes = held_in_thread(outbox)
    wait_until(lambda: outbox.is_waited_for)
    outbox.keep_write(write)
    thread.join(PATIENCE)
    assert writes == [write]
    outbox.end_write(write)
    assert outbox.wait_until_sent(0)


def test_what_is_held_back_waits_and_no_writer_goes_on_with_it(watched: Watched) -> None:
    peer = Peer()
    outbox = Outbox(peer.send, 7, peer, is_held=True)
    outbox.put(b"waits")
    with pytest.raises(TimeoutError):
        outbox.begin_write(0.0)
    outbox.flush()
    assert peer.heard == b""
    peer.room.append(100)
    outbox.release()
    assert peer.heard == b"waits"


def test_the_end_wakes_a_writer_that_waits_for_its_turn(watched: Watched) -> None:
    outbox = made(Peer())
    outbox.put(b"waits")
    thread, writes = held_in_thread(outbox)
    wait_until(lambda: outbox.is_waited_for)
    outbox.end()
    thread.join(PATIENCE)
    assert writes == [None]


def test_the_polite_end_waits_while_the_peer_reads(watched: Watched) -> None:
    peer = Peer()
    outbox = made(peer)
    outbox.put(b"a" * 100)
    ended: list[bool] = []
    thread = threading.Thread(target=lambda: ended.append(outbox.finish(PATIENCE)))
    thread.start()
    wait_until(lambda: outbox.is_waited_for)
    flushed(outbox, peer, 50)
    assert ended == []
    flushed(outbox, peer, 50)
    thread.join(PATIENCE)
    assert ended == [True]


def test_the_polite_end_gives_up_a_peer_that_takes_nothing(watched: Watched) -> None:
    outbox = made(Peer())
    outbox.put(b"waits")
    outbox.put(b"too")
    outbox.flush()  # has both begun as one
    outbox.put(b"and more")
    assert not outbox.finish(0.01)
    assert outbox.is_over
    assert outbox.missed == 3


def test_waiting_until_all_is_sent_has_a_time(watched: Watched) -> None:
    peer = Peer()
    outbox = made(peer)
    assert outbox.wait_until_sent(0)
    outbox.put(b"waits")
    assert not outbox.wait_until_sent(0.01)
    sent: list[bool] = []
    thread = threading.Thread(target=lambda: sent.append(outbox.wait_until_sent(PATIENCE)))
    thread.start()
    wait_until(lambda: outbox.is_waited_for)
    flushed(outbox, peer, 100)
    thread.join(PATIENCE)
    assert sent == [True]


def test_what_is_unsent_can_be_sent_by_other_means_and_nothing_of_it_twice(
    watched: Watched,
) -> None:
    peer = Peer()
    outbox = made(peer)
    peer.room.extend([3])
    for piece in (b"first", b"second", b"third"):
        assert outbox.put(piece)
    assert outbox.take_unsent() == b"stsecondthird"
    assert peer.heard == b"fir"
    assert outbox.is_over
    assert not outbox.put(b"too late")
    assert outbox.take_unsent() is None
    assert not watched.watched
    assert (outbox.missed, peer.lags) == (0, [])


def test_what_is_unsent_stays_while_somebody_writes(watched: Watched) -> None:
    outbox = made(Peer())
    write = outbox.begin_write(None)
    assert write is not None
    assert outbox.put(b"behind it")
    assert outbox.take_unsent() is None
    outbox.end_write(write)
    assert outbox.take_unsent() == b"behind it"
