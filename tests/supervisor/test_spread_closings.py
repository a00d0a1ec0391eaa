"""Closings at a reload are spread over a part of the drain, so that clients do not come back in one wave."""

import select
import signal
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager

import pytest

from manyhands import Server, StreamRequestHandler
from manyhands.serving import closing_pace
from tests.supervisor.kit import ENGINES, Caller, Pid, callers, close, kill, serving, workers
from tests.support.running import bound
from tests.support.waiting import PATIENCE, wait_until

ANY = "tcp://127.0.0.1:0"
LONG = 3600.0


@pytest.fixture(autouse=True)
def pace(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have one connection end at once, and the next one after minutes: workers are copies of this process."""
    monkeypatch.setattr(closing_pace, "FIRST", 1)
    monkeypatch.setattr(closing_pace, "RATE", 0.001)


@contextmanager
def serving_three(engine: str, handler: type[StreamRequestHandler] = Pid) -> Iterator[Server]:
    with Server(handler, ANY, workers=1, engine=engine, drain_timeout=LONG) as server:
        yield server
        assert server.close() == []


def ended(every: Sequence[Caller]) -> list[Caller]:
    """Wait until connections have been ended; return them."""
    ready, _, _ = select.select([each.socket for each in every], [], [], PATIENCE)
    return [each for each in every if each.socket in ready]


@pytest.mark.parametrize("engine", ENGINES)
def test_a_reload_ends_one_after_the_other_and_the_others_are_served_meanwhile(engine: str) -> None:
    with serving_three(engine) as server:
        every = callers(server, 3)
        [old] = serving(server)
        assert server.reload()
        [first] = ended(every)
        assert first.end() == b""
        others = [each for each in every if each is not first]
        assert [each.ask() for each in others] == [old, old]
        # The end of the whole server leaves no time, nor clients that could come back.
        server.close()
        assert [each.end() for each in others] == [b"", b""]
        close(every)


def test_so_does_a_worker_that_is_to_be_replaced() -> None:
    with serving_three("threads") as server:
        every = callers(server, 3)
        [old] = serving(server)
        kill(old, signal.SIGTERM)
        [first] = ended(every)
        wait_until(lambda: {each.state for each in workers(server)} >= {"draining", "serving"})
        assert [each.ask() for each in every if each is not first] == [old, old]
        close(every)


class Waits(StreamRequestHandler):
    """Says what it is told by a subject, until the subscription ends."""

    def handle(self) -> None:
        with self.server.exchange.subscribe("news") as news:
            self.wfile.write(b"1 hi\n")
            for message in news:
                self.wfile.write(b"1 %s\n" % message.data)


def test_subscriptions_end_in_the_turns_of_their_connections() -> None:
    with serving_three("threads", Waits) as server:
        every = [Caller(bound(server)) for _ in range(3)]
        for each in every:
            each.answer()
        assert server.reload()
        [first] = ended(every)
        assert first.end() == b""
        others = [each for each in every if each is not first]
        server.exchange.publish("news", b"more")
        assert [each.answer(b"more") for each in others] == [1, 1]
        server.close()
        assert [each.end() for each in others] == [b"", b""]
        close(every)


def test_the_end_of_a_server_is_not_spread() -> None:
    server = Server(Pid, ANY, workers=1, drain_timeout=LONG)
    server.start()
    every = callers(server, 3)
    assert server.close() == []
    for each in every:
        with closing(each):
            assert each.end() == b""
