"""What the documentation promises of rooms, between processes, while members join, tell and are killed."""

import itertools
import threading

import pytest

from manyhands import Reason
from manyhands.testing import serving, wait_until
from tests.dealing.kit import Speaker, clients
from tests.support.waiting import PATIENCE

pytestmark = pytest.mark.filterwarnings("ignore:.*fork")


def test_nothing_comes_that_was_told_before_a_handler_has_joined() -> None:
    with serving(Speaker, engine="processes") as under_test:
        server, is_over = under_test.server, threading.Event()
        told, room = 0, "none"

        def tell() -> None:
            nonlocal told
            for number in itertools.count(1):
                # What is told while a member leaves may still come after that: so it says where.
                now = room
                server.tell(now, f"{now} {number}\n".encode())
                told = number
                if is_over.wait(0.0002):
                    return

        telling = threading.Thread(target=tell)
        telling.start()
        try:
            with clients(under_test.address, 5) as every:
                for client in every:
                    for turn in range(4):
                        room = f"room-{client.number}-{turn}"
                        before = told
                        client.say(f"join {room}")
                        while not (line := client.hear()).startswith(room):
                            pass
                        assert int(line.split()[1]) > before
                        client.say(f"leave {room}")
                        while client.hear() != "None":
                            pass
        finally:
            is_over.set()
            telling.join(PATIENCE)


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
