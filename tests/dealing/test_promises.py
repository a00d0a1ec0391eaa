"""What the documentation promises of rooms, between processes, while members join, tell and are killed."""

import itertools

import pytest

from manyhands import Reason
from manyhands.testing import serving, wait_until
from tests.dealing.kit import Speaker, clients, join_while_others_are_told

pytestmark = pytest.mark.filterwarnings("ignore:.*fork")


def test_nothing_comes_that_was_told_before_a_handler_has_joined() -> None:
    with (
        serving(Speaker, engine="processes") as under_test,
        clients(under_test.address, 5) as every,
    ):
        server = under_test.server
        join_while_others_are_told(
            every, 4, lambda room, text: server.tell(room, f"{text}\n".encode())
        )


def test_handlers_that_are_killed_while_all_tell_change_nothing_for_the_others() -> None:
    class Chatty(Speaker):
        def do_chat(self, name: str, _: str) -> None:
            for number in itertools.count():
                self.server.tell("red", f"{name} {number}\n".encode())

    with (
        serving(Chatty, engine="processes", outbox=10_000_000) as under_test,
        clients(under_test.address, 5) as (listener, *others),
    ):
        server = under_test.server
        assert listener.ask("join red listener") == "True"
        for other in others:
            other.say(f"chat {other.number}")
        heard = {str(other.number): 0 for other in others}

        def hear(line: str) -> str:
            sender, number = line.split()
            assert int(number) == heard[sender]
            heard[sender] += 1
            return sender

        for other in others:
            until = heard[str(other.number)] + 20
            while heard[str(other.number)] < until:
                hear(listener.hear())
            other.kill()
        wait_until(lambda: len(server.connections) == 1)
        listener.say("members red")
        while (line := listener.hear()) != "['listener']":
            hear(line)
        assert server.connections.closed == {Reason.HANDLER_FAILED: 4}
