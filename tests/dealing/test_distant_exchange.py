"""The exchange of handlers in processes of their own: their parent hands on what they tell each other."""

import gc
import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from manyhands import FellBehind, NoAnswer, Server, socketserver
from manyhands.dealing.distant_exchange import DistantExchange
from manyhands.dealing.frames import Frame, Kind
from manyhands.exchange.exchange import Exchange
from manyhands.exchange.subscription import Message
from manyhands.testing import running, serving, wait_until
from tests.dealing.kit import Client, Speaker, clients
from tests.support import Program
from tests.support.waiting import PATIENCE


class Correspondent(Speaker):
    """Publishes, subscribes, asks and answers as it is told."""

    news: Any = None

    def do_subscribe(self, subject: str, most: str) -> str:
        most, _, when_behind = most.partition(" ")
        options: dict[str, Any] = {"most": int(most)} if most else {}
        if when_behind:
            options["when_behind"] = when_behind
        self.news = self.server.exchange.subscribe(subject, **options)
        return "subscribed"

    def do_publish(self, subject: str, text: str) -> str:
        self.server.exchange.publish(subject, text.encode())
        return "published"

    def do_next(self, _: str, __: str) -> str:
        message = self.news.receive(PATIENCE)
        return "nothing" if message is None else message.data.decode()

    def do_all(self, last: str, _: str) -> str:
        """Take messages until the last one; say how many came, and what the last ones were."""
        numbers: list[int] = []
        try:
            for message in self.news:
                numbers.append(int(message.data[:8]))
                if numbers[-1] == int(last):
                    break
        except FellBehind:
            return f"FellBehind after {numbers}"
        return str(numbers)

    def do_missed(self, _: str, __: str) -> int:
        missed: int = self.news.missed
        return missed

    def do_answer(self, with_what: str, _: str) -> list[bool]:
        message = self.news.receive(PATIENCE)
        return [message.reply(with_what.encode()), message.reply(b"again"), message.is_request]

    def do_answer_long(self, size: str, _: str) -> bool:
        message = self.news.receive(PATIENCE)
        return bool(message.reply(bytes(int(size))))

    def do_ask_briefly(self, subject: str, _: str) -> str:
        return self.server.exchange.request(subject, b"", 0.01).decode()

    def do_request(self, subject: str, text: str) -> str:
        return self.server.exchange.request(subject, text.encode(), PATIENCE).decode()

    def do_close_news(self, _: str, __: str) -> str:
        self.news.close()
        return "closed"


@contextmanager
def correspondents(kind: str, count: int) -> Iterator[tuple[Exchange, list[Client]]]:
    """The exchange of a server on processes, and so many clients."""
    if kind == "Server":
        with (
            serving(Correspondent, engine="processes") as under_test,
            clients(under_test.address, count) as every,
        ):
            yield under_test.server.exchange, every
        return
    with (
        running(socketserver.ForkingTCPServer(("127.0.0.1", 0), Correspondent)) as server,
        clients(server.server_address, count) as every,
    ):
        yield server.exchange, every


PROGRAM = """
import warnings
warnings.simplefilter("ignore")
from manyhands import socketserver
from tests.dealing.kit import be_patient
from tests.dealing.test_distant_exchange import Correspondent
be_patient()
with socketserver.ForkingTCPServer(("127.0.0.1", 0), Correspondent) as server:
    print(server.server_address[1], flush=True)
    server.serve_forever()
"""

pytestmark = pytest.mark.filterwarnings("ignore:.*fork")

both = pytest.mark.parametrize("kind", ["drop-in", "Server"])


@both
def test_messages_go_between_handlers_and_the_program(kind: str) -> None:
    with correspondents(kind, 3) as (exchange, (anna, bob, eve)):
        assert anna.ask("publish news too early") == "published"
        assert [anna.ask("subscribe news"), bob.ask("subscribe news")] == ["subscribed"] * 2
        with exchange.subscribe("news") as news:
            assert eve.ask("publish news from eve") == "published"
            exchange.publish("news", b"from the program")
            assert anna.ask("publish news from anna") == "published"
            expected = ["from eve", "from the program", "from anna"]
            for each in (anna, bob):
                assert [each.ask("next") for _ in range(3)] == expected
            assert [next(news).data.decode() for _ in range(3)] == expected
        assert anna.ask("close_news") == "closed"
        assert eve.ask("publish news to bob alone") == "published"
        assert [anna.ask("next"), bob.ask("next")] == ["nothing", "to bob alone"]


@both
def test_requests_find_their_answers_between_processes(kind: str) -> None:
    with correspondents(kind, 2) as (exchange, (anna, bob)):
        assert anna.ask("request time now").startswith("NoAnswer: nothing has subscribed")
        assert bob.ask("subscribe time") == "subscribed"
        anna.say("request time now")
        assert bob.ask("answer noon") == "[True, False, True]"
        assert anna.hear() == "noon"
        told: list[bytes] = []
        thread = threading.Thread(
            target=lambda: told.append(exchange.request("time", b"now", PATIENCE))
        )
        thread.start()
        assert bob.ask("answer midnight") == "[True, False, True]"
        thread.join(PATIENCE)
        assert told == [b"midnight"]
        with exchange.subscribe("place") as asked:
            anna.say("request place where")
            assert next(asked).reply(b"here")
            assert anna.hear() == "here"
        with pytest.raises(TimeoutError):
            exchange.request("time", b"now", 0.01)


@both
def test_a_process_that_is_killed_has_subscribed_to_nothing(kind: str) -> None:
    with correspondents(kind, 1) as (exchange, (anna,)):
        assert anna.ask("subscribe time") == "subscribed"
        os.kill(anna.pid, signal.SIGKILL)

        def has_no_subscriber() -> bool:
            try:
                exchange.request("time", b"now", 0.01)
            except NoAnswer:
                return True
            except TimeoutError:
                return False
            return False

        wait_until(has_no_subscriber)


def test_a_handler_that_takes_no_messages_misses_those_that_have_no_room() -> None:
    with correspondents("Server", 2) as (exchange, (anna, bob)):
        assert anna.ask("subscribe news 2 drop_oldest") == "subscribed"
        assert bob.ask("subscribe news") == "subscribed"
        for number in range(5):
            exchange.publish("news", b"%d" % number)
        assert [bob.ask("next") for _ in range(5)] == list("01234")
        wait_until(lambda: anna.ask("missed") == "3")
        assert [anna.ask("next"), anna.ask("next")] == ["3", "4"]


def test_a_message_of_any_length_that_is_allowed_comes_whole() -> None:
    with correspondents("Server", 2) as (exchange, (anna, bob)):
        assert anna.ask("subscribe news") == "subscribed"
        exchange.publish("news", b"x" * 65_536)
        assert anna.ask("next") == "x" * 65_536
        assert bob.ask("publish news " + "y" * 65_536) == "published"
        assert anna.ask("next") == "y" * 65_536
        assert bob.ask("publish news " + "y" * 65_537).startswith("Mistake: a message has at most")


def message(number: int, size: int = 60_000) -> bytes:
    return b"%08d" % number + bytes(size)


def test_many_messages_at_once_close_no_connection_and_come_in_their_order() -> None:
    with correspondents("Server", 1) as (exchange, (anna,)):
        assert anna.ask("subscribe news 1000 drop_oldest") == "subscribed"
        for number in range(15):  # less than 1 MiB
            exchange.publish("news", message(number))
        assert anna.ask("all 14") == str(list(range(15)))
        assert anna.ask("missed") == "0"


def test_a_subscriber_that_falls_behind_in_a_process_gets_what_has_waited_and_is_told_so() -> None:
    with correspondents("Server", 2) as (exchange, (anna, bob)):
        assert anna.ask("subscribe news 3") == "subscribed"
        assert bob.ask("subscribe news 3 drop_new") == "subscribed"
        for number in range(5):
            exchange.publish("news", message(number, 0))
        wait_until(lambda: bob.ask("missed") == "2")
        assert bob.ask("all 2") == "[0, 1, 2]"
        assert anna.ask("all -1") == "FellBehind after [0, 1, 2]"


@pytest.mark.parametrize("when_behind", ["close", "drop_new", "drop_oldest"])
def test_a_stopped_process_misses_messages_as_its_subscription_says_and_lives(
    when_behind: str,
) -> None:
    with correspondents("Server", 2) as (exchange, (anna, bob)):
        assert anna.ask(f"subscribe news 1000 {when_behind}") == "subscribed"
        assert bob.ask("subscribe news 1000 drop_oldest") == "subscribed"
        if when_behind == "close":
            # It takes each as it comes, so that it is behind only on the way.
            anna.say("all -1")
        anna.stop()
        for number in range(60):  # what its channel, its lane and its subscription hold is less
            exchange.publish("news", message(number))
        anna.go_on()
        if when_behind == "close":
            assert anna.hear().startswith("FellBehind after [0, 1, 2,")
        elif when_behind == "drop_oldest":
            numbers = eval(anna.ask("all 59"))
            assert numbers == sorted(set(numbers))
            wait_until(lambda: int(anna.ask("missed")) == 60 - len(numbers))
        else:
            wait_until(lambda: int(anna.ask("missed")) > 30)
            first = [int(anna.ask("next")[:8]) for _ in range(10)]
            assert first == list(range(10))
        assert bob.ask("publish news x") == "published"


@both
def test_a_reply_says_whether_it_is_still_waited_for(kind: str) -> None:
    with correspondents(kind, 2) as (exchange, (anna, bob)):
        assert bob.ask("subscribe time") == "subscribed"
        with exchange.subscribe("time") as asked:
            assert anna.ask("ask-briefly time").startswith("TimeoutError")
            assert not next(asked).reply(b"too late")
            assert bob.ask("answer too-late") == "[False, False, True]"
            with pytest.raises(TimeoutError):
                exchange.request("time", b"now", 0.01)
            assert bob.ask("answer too-late") == "[False, False, True]"


def test_a_request_without_an_answer_leaves_nothing_of_its_message() -> None:
    with correspondents("Server", 1) as (exchange, (anna,)):
        assert anna.ask("subscribe log 1000 drop_oldest") == "subscribed"
        for number in range(20):
            with pytest.raises(TimeoutError):
                exchange.request("log", b"%d" % number + bytes(60_000), 0.001)
        assert not [each for each in gc.get_objects() if type(each) is Message]


def test_a_request_of_a_handler_without_an_answer_leaves_nothing_of_its_message() -> None:
    def is_request(each: object) -> bool:
        return type(each) is Frame and each.kind == Kind.REQUEST and len(each.body) > 60_000

    class Asking(Correspondent):
        def do_ask_much(self, first: str, more: str) -> None:
            for number in range(20):
                with pytest.raises(TimeoutError):
                    self.server.exchange.request("log", b"%d" % number + bytes(60_000), 0.001)

    with (
        serving(Asking, engine="processes") as under_test,
        clients(under_test.address, 2) as (anna, bob),
    ):
        assert anna.ask("subscribe log 10 drop_oldest") == "subscribed"
        assert bob.ask("ask-much") == "None"
        # All were handed on by now: its frames come in their order.
        assert bob.ask("members red") == "[]"
        wait_until(lambda: not [each for each in gc.get_objects() if is_request(each)])


def test_a_reply_is_no_longer_than_a_message_may_be() -> None:
    with correspondents("Server", 1) as (exchange, (anna,)):
        assert anna.ask("subscribe time") == "subscribed"
        with pytest.raises(TimeoutError):
            exchange.request("time", b"now", 0.01)
        assert anna.ask("answer-long 65537").startswith(
            "Mistake: a message has at most 65536 bytes"
        )
        with exchange.subscribe("log"), pytest.raises(TimeoutError):
            exchange.request("log", b"", 0.01)
        assert anna.ask("missed") == "0"


def test_a_handler_has_nothing_of_what_the_program_has_subscribed_to() -> None:
    class Heir(Correspondent):
        def do_inherit(self, _: str, __: str) -> str:
            questions.close()
            return f"{[each.data for each in questions]} {questions.is_closed}"

    with Server(Heir, "tcp://127.0.0.1:0", engine="processes") as server:
        questions = server.exchange.subscribe("time")
        with clients(server.listeners[0].server_address, 1) as (anna,):
            assert anna.ask("inherit") == "[] True"
            anna.say("request time now")
            assert next(questions).reply(b"noon")
            assert anna.hear() == "noon"


@pytest.mark.parametrize("times", [1, 2])
def test_a_subscription_is_no_closed_one_be_the_channel_ended_while_it_is_made(times: int) -> None:
    class Parent:
        """Is asked by another channel where one has ended."""

        def __init__(self) -> None:
            self.asked: list[int] = []
            self.said: list[tuple[Kind, int]] = []

        def ask(
            self, kind: Kind, number: int, body: bytes = b"", seconds: float | None = None
        ) -> Frame | None:
            if len(self.asked) < times:
                exchange.end_subscriptions()
            self.asked.append(number)
            return Frame(Kind.ANSWER, 0, 1, body)

        def say(self, kind: Kind, number: int, body: bytes = b"") -> bool:
            self.said.append((kind, number))
            return True

    with serving(Correspondent) as under_test, under_test.connect():
        wait_until(lambda: under_test.server.connections)
        (connection,) = under_test.server.connections.values()
        parent = Parent()
        exchange = DistantExchange(parent, connection)
        if times == 1:
            news = exchange.subscribe("news")
            assert not news.is_closed
            exchange.take(Frame(Kind.MESSAGE, 0, parent.asked[-1], bytes(8) + b"piece"))
            assert next(news).data == b"piece"
        else:
            with pytest.raises(ConnectionError, match="has ended"):
                exchange.subscribe("news")
        assert parent.said == [(Kind.UNSUBSCRIBE, number) for number in parent.asked[:times]]


def test_a_subscription_ends_when_the_server_s_process_has_gone() -> None:
    with (
        Program(["-c", PROGRAM]) as parent,
        clients(("127.0.0.1", int(parent.line())), 1) as (anna,),
    ):
        assert anna.ask("subscribe news") == "subscribed"
        anna.say("all -1")
        parent.send(signal.SIGKILL)
        parent.wait()
        assert anna.hear() == "[]"
        assert anna.ask("subscribe news").startswith("ConnectionError: nothing can be subscribed")
        assert anna.ask("request time now").startswith("TimeoutError")
