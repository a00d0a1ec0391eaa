"""The exchange of handlers in processes of their own: their parent hands on what they tell each other."""

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from manyhands import NoAnswer, socketserver
from manyhands.exchange.exchange import Exchange
from manyhands.testing import running, serving, wait_until
from tests.dealing.kit import Client, Speaker, clients
from tests.support.waiting import PATIENCE


class Correspondent(Speaker):
    """Publishes, subscribes, asks and answers as it is told."""

    news: Any = None

    def do_subscribe(self, subject: str, most: str) -> str:
        options = {"most": int(most), "when_behind": "drop_oldest"} if most else {}
        self.news = self.server.exchange.subscribe(subject, **options)
        return "subscribed"

    def do_publish(self, subject: str, text: str) -> str:
        self.server.exchange.publish(subject, text.encode())
        return "published"

    def do_next(self, _: str, __: str) -> str:
        message = self.news.receive(PATIENCE)
        return "nothing" if message is None else message.data.decode()

    def do_missed(self, _: str, __: str) -> int:
        missed: int = self.news.missed
        return missed

    def do_answer(self, with_what: str, _: str) -> list[bool]:
        message = self.news.receive(PATIENCE)
        return [message.reply(with_what.encode()), message.reply(b"again"), message.is_request]

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
        assert anna.ask("subscribe news 2") == "subscribed"
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
