"""The exchange: what it promises to those that publish, subscribe and ask, in threads and in fibers."""

import threading
import weakref
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from manyhands import Mistake, Server, StreamRequestHandler
from manyhands.connections.subscriptions import keep
from manyhands.exchange.exchange import Exchange, NoAnswer
from manyhands.exchange.local import LocalExchange
from manyhands.exchange.subscription import MOST_BYTES, FellBehind, Message
from manyhands.model.pieces import LONGEST_MESSAGE
from manyhands.serving.served_connection import connection_of
from manyhands.testing import call, everything, half_close, read_line, running, serving, wait_until
from tests.support import forked
from tests.support.running import server_class
from tests.support.waiting import PATIENCE

SHARING = ("threads", "fibers")


@pytest.fixture
def exchange() -> LocalExchange:
    return LocalExchange()


def texts(messages: Any) -> list[bytes]:
    return [message.data for message in messages]


def test_a_subscriber_gets_what_is_published_from_then_on_in_order(exchange: Exchange) -> None:
    exchange.publish("news", b"too early")
    with exchange.subscribe("news") as news, exchange.subscribe("sport") as sport:
        for number in range(5):
            exchange.publish("news", b"%d" % number)
        exchange.publish("sport", bytearray(b"goal"))
    exchange.publish("news", b"too late")
    assert texts(news) == [b"0", b"1", b"2", b"3", b"4"]
    assert texts(sport) == [b"goal"]
    assert news.receive() is None


def test_a_receive_waits_no_longer_than_it_is_told(exchange: Exchange) -> None:
    with exchange.subscribe("news") as news:
        assert news.receive(timeout=0) is None
        assert news.receive(timeout=0.01) is None


def test_a_wait_ends_when_the_subscription_is_closed(exchange: Exchange) -> None:
    news = exchange.subscribe("news")
    got: list[bytes] = []
    thread = threading.Thread(target=lambda: got.extend(texts(news)))
    thread.start()
    exchange.publish("news", b"one")
    wait_until(lambda: got == [] and not news.waiting)
    exchange.close_subscriptions()
    thread.join(PATIENCE)
    assert got == [b"one"]
    assert news.is_closed


def test_a_subscriber_that_falls_behind_is_told_so_after_what_has_waited(
    exchange: Exchange,
) -> None:
    news = exchange.subscribe("news", most=2)
    for number in range(3):
        exchange.publish("news", b"%d" % number)
    assert news.is_closed
    assert news.missed == 1
    assert [next(news).data, next(news).data] == [b"0", b"1"]
    with pytest.raises(FellBehind, match="'news' was closed: 2 messages"):
        next(news)


@pytest.mark.parametrize(("way", "kept"), [("drop_oldest", [2, 3]), ("drop_new", [0, 1])])
def test_messages_that_are_dropped_are_counted(
    exchange: Exchange, way: str, kept: list[int]
) -> None:
    news = exchange.subscribe("news", most=2, when_behind=way)
    for number in range(4):
        exchange.publish("news", b"%d" % number)
    news.close()
    assert texts(news) == [b"%d" % number for number in kept]
    assert news.missed == 2


def test_what_waits_is_bounded_in_bytes_too(exchange: Exchange) -> None:
    news = exchange.subscribe("news", when_behind="drop_oldest")
    longest = bytes(LONGEST_MESSAGE)
    most = MOST_BYTES // LONGEST_MESSAGE
    for _ in range(most + 3):
        exchange.publish("news", longest)
    assert (news.waiting, news.missed) == (most, 3)
    exchange.publish("news", b"short")
    assert (news.waiting, news.missed) == (most, 4)


def test_one_subscriber_that_does_not_take_changes_nothing_for_others(exchange: Exchange) -> None:
    exchange.subscribe("news", most=1)
    news = exchange.subscribe("news")
    for number in range(10):
        exchange.publish("news", b"%d" % number)
    assert news.waiting == 10


def test_a_request_gets_the_first_answer(exchange: Exchange) -> None:
    asked = exchange.subscribe("time")
    told: list[bool] = []

    def answer() -> None:
        message = next(asked)
        assert message.is_request
        told.extend([message.reply(message.data + b" noon"), message.reply(b"midnight")])

    thread = threading.Thread(target=answer)
    thread.start()
    assert exchange.request("time", b"it is", timeout=PATIENCE) == b"it is noon"
    thread.join(PATIENCE)
    assert told == [True, False]


def test_a_request_that_nothing_can_answer_fails_at_once(exchange: Exchange) -> None:
    with pytest.raises(NoAnswer, match="nothing has subscribed to 'time'"):
        exchange.request("time", b"", timeout=PATIENCE)


def test_a_request_without_an_answer_ends_in_time_and_takes_none_later(exchange: Exchange) -> None:
    with exchange.subscribe("time") as asked:
        with pytest.raises(TimeoutError, match=r"no answer came on 'time' in 0\.01 s"):
            exchange.request("time", b"", timeout=0.01)
        assert not next(asked).reply(b"too late")
        exchange.publish("time", b"no request")
        assert not next(asked).reply(b"?")


@pytest.mark.parametrize(
    ("wrong", "sentence"),
    [
        (lambda it: it.publish("", b""), "1 to 255 characters, not 0"),
        (lambda it: it.publish(b"news", b""), "subject is text, not b'news'"),
        (lambda it: it.publish("news", "text"), "bytes, not text"),
        (lambda it: it.request("news", None), "bytes, not NoneType"),
        (lambda it: it.publish("news", bytes(LONGEST_MESSAGE + 1)), "at most 65536 bytes"),
        (lambda it: it.subscribe("n" * 256), "1 to 255 characters, not 256"),
        (lambda it: it.subscribe("news", most=0), "1 or more, not 0"),
        (lambda it: it.subscribe("news", most=True), "1 or more, not True"),
        (lambda it: it.subscribe("news", when_behind="wait"), "drop_new, not 'wait'"),
    ],
)
def test_what_makes_no_sense_is_a_mistake(
    exchange: Exchange, wrong: Callable[[Exchange], object], sentence: str
) -> None:
    with pytest.raises(Mistake, match=sentence):
        wrong(exchange)


@pytest.mark.filterwarnings("ignore:.*fork")
def test_a_forked_copy_has_no_subscriptions(exchange: Exchange) -> None:
    with exchange.subscribe("news") as news:

        def is_heard_by_none() -> bool:
            exchange.publish("news", b"from the copy")
            return not news.waiting

        with forked(is_heard_by_none) as ended:
            assert ended() == 0


class Relay(StreamRequestHandler):
    """Subscribes, and passes on what is published."""

    def handle(self) -> None:
        with self.server.exchange.subscribe("news") as news:
            self.wfile.write(b"subscribed\n")
            for message in news:
                self.wfile.write(message.data)
        self.wfile.write(b"the end\n")


@pytest.fixture(params=(*SHARING, "processes"))
def relays(request: pytest.FixtureRequest) -> Iterator[Any]:
    with serving(Relay, engine=request.param, drain_timeout=PATIENCE) as under_test:
        yield under_test


def subscribed(peer: Any) -> Any:
    assert read_line(peer) == b"subscribed\n"
    return peer


def test_a_handler_passes_on_what_it_has_subscribed_to(relays: Any) -> None:
    anna, bob = subscribed(relays.connect()), subscribed(relays.connect())
    relays.server.exchange.publish("news", b"hear ye\n")
    assert (read_line(anna), read_line(bob)) == (b"hear ye\n", b"hear ye\n")


def test_a_handler_s_wait_for_messages_ends_with_the_drain(relays: Any) -> None:
    peer = subscribed(relays.connect())
    assert relays.server.drain() == []
    assert everything(peer) == b"the end\n"


def test_a_handler_s_wait_for_messages_ends_with_its_connection(relays: Any) -> None:
    peer = subscribed(relays.connect())
    other = subscribed(relays.connect())
    first, _ = relays.server.connections.values()
    assert first.close()
    wait_until(lambda: len(relays.server.connections) == 1)
    assert everything(peer) == b""
    relays.server.exchange.publish("news", b"goes on\n")
    assert read_line(other) == b"goes on\n"


def test_a_connection_that_is_too_old_ends_a_wait_for_messages(relays: Any) -> None:
    peer = subscribed(relays.connect())
    relays.server.max_age = 0.01
    assert everything(peer) in {b"", b"the end\n"}
    assert relays.server.wait_for_connections(0, PATIENCE)


@pytest.mark.parametrize("engine", SHARING)
def test_a_drop_in_server_has_an_exchange(engine: str) -> None:
    class Asking(StreamRequestHandler):
        def handle(self) -> None:
            for line in self.rfile:
                self.wfile.write(self.server.exchange.request("double", line, timeout=PATIENCE))

    with running(server_class(engine)(("127.0.0.1", 0), Asking)) as server:
        doubles = server.exchange.subscribe("double")
        thread = threading.Thread(
            target=lambda: [message.reply(message.data * 2) for message in doubles]
        )
        thread.start()
        with call(server.server_address) as peer:
            peer.sendall(b"two\n")
            half_close(peer)
            assert everything(peer) == b"two\ntwo\n"
        doubles.close()
        thread.join(PATIENCE)


def test_all_listeners_of_a_server_share_its_exchange() -> None:
    with Server(Relay, "tcp://127.0.0.1:0", "tcp://127.0.0.1:0") as server:
        first, second = server.listeners
        assert first.exchange is second.exchange is server.exchange


def test_a_copy_of_the_process_closes_a_subscription_that_is_busy_in_the_original(
    exchange: LocalExchange,
) -> None:
    is_measured, may_go_on = threading.Event(), threading.Event()

    class Slow(bytes):
        def __len__(self) -> int:
            is_measured.set()
            may_go_on.wait(PATIENCE)
            return super().__len__()

    with exchange.subscribe("news") as news:
        busy = threading.Thread(target=news.deliver, args=(Message("news", Slow(b"big")),))
        busy.start()
        assert is_measured.wait(PATIENCE)

        def in_the_copy() -> bool:
            news.close()
            return news.is_closed and news.receive() is None

        try:
            with forked(in_the_copy) as exit_code:
                assert exit_code() == 0
        finally:
            may_go_on.set()
            busy.join(PATIENCE)
        assert next(news).data == b"big"


def test_what_a_handler_subscribes_to_after_its_end_is_closed_and_not_kept() -> None:
    class Late(StreamRequestHandler):
        def handle(self) -> None:
            connections.append(connection_of(self))

    connections: list[Any] = []
    with serving(Late) as under_test:
        exchange = under_test.server.exchange
        under_test.connect().close()
        wait_until(lambda: connections and not under_test.server.connections)
        late = exchange.subscribe("news")
        keep(connections[0], late)
        assert late.is_closed
        is_kept = weakref.ref(late)
        del late
        assert is_kept() is None


def test_what_is_lost_on_the_way_is_counted_once_be_the_later_count_the_first_to_come() -> None:
    subscription = LocalExchange().subscribe("news", when_behind="drop_new")
    counted = []
    for count in (1, 5, 3, 6):
        subscription.note_lost(count)
        counted.append(subscription.missed)
    assert counted == [1, 5, 5, 6]
