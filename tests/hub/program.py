"""A worker for tests: `python -m tests.hub.program JSON`. Serves, and does what its input says."""

import itertools
import json
import sys
import threading
from typing import Any

from manyhands import FellBehind, NoAnswer, Server, events
from manyhands.connections import connection
from manyhands.dealing import child_side, notices
from manyhands.hub import link as hub_link
from manyhands.hub import member as hub_member
from manyhands.hub.member import HubMember
from manyhands.serving.core import core_of
from manyhands.serving.served_connection import connection_of
from tests.dealing.kit import Speaker
from tests.support.waiting import PATIENCE


class Talker(Speaker):
    """Does what its client says with rooms, and with the exchange."""

    def do_publish(self, subject: str, text: str) -> None:
        self.server.exchange.publish(subject, text.encode())

    def do_request(self, subject: str, text: str) -> str:
        return self.server.exchange.request(subject, text.encode(), timeout=PATIENCE).decode()

    def do_subscribe(self, subject: str, when_behind: str) -> str:
        """Say each message, and answer those that ask, until the subscription ends."""
        when_behind = when_behind or "close"
        with self.server.exchange.subscribe(subject, when_behind=when_behind) as messages:
            self.wfile.write(b"subscribed\n")
            try:
                for message in messages:
                    self.wfile.write(message.data + b" %d\n" % messages.missed)
                    if message.is_request:
                        counts = message.reply(b"to " + message.data)
                        self.wfile.write(b"replied %d\n" % counts)
            except FellBehind:
                return f"fell behind, missed {messages.missed}"
        return "ended"

    def do_count(self, room: str, to: str) -> int:
        """Tell a room the numbers, each after the other."""
        connection = connection_of(self)
        assert connection is not None
        number = connection.number
        return sum(
            self.server.tell(room, b"%d %d\n" % (number, each), but=self) for each in range(int(to))
        )


class Program:
    """What the test asks of the program."""

    def __init__(self, server: Server, number: int, member: HubMember) -> None:
        self.server = server
        self.number = number
        self.member = member
        self.events: list[str] = []
        self.asked = 0
        self.may_take = threading.Event()
        ask = hub_link.HubLink.ask

        def count_and_ask(*arguments: Any) -> Any:
            self.asked += 1
            return ask(*arguments)

        hub_link.HubLink.ask = count_and_ask  # type: ignore[method-assign]
        self.waits = 0
        seconds_left = hub_link.HubLink.seconds_left

        def count_and_tell(link: hub_link.HubLink) -> float:
            seconds = seconds_left(link)
            self.waits += bool(seconds)
            return seconds

        hub_link.HubLink.seconds_left = count_and_tell  # type: ignore[method-assign]
        events.hub.subscribe(lambda event: self.events.append(type(event).__name__))

    def is_connected(self) -> bool:
        return self.member.is_connected

    def tell(self, room: str, text: object) -> int:
        return self.server.tell(room, f"{text}\n".encode())

    def tell_much(self, room: str, size: int) -> int:
        return self.server.tell(room, b"x" * size)

    def members(self, room: str) -> list[str]:
        return [member.name for member in self.server.members(room)]

    def send_all(self, text: str) -> int:
        return self.server.connections.send_all(text.encode() + b"\n")

    def send(self, number: int, text: str) -> bool:
        return self.server.connections[number].send(text.encode() + b"\n")

    def publish(self, subject: str, text: str, times: int = 1) -> None:
        for _ in range(times):
            self.server.exchange.publish(subject, text.encode())

    def request(self, subject: str, text: str) -> str | None:
        try:
            return self.server.exchange.request(subject, text.encode(), timeout=PATIENCE).decode()
        except NoAnswer:
            return None

    def hold(self) -> None:
        """Take nothing of what others tell, until `release`."""
        may_take, take = self.may_take, hub_member.HubMember.take
        may_take.clear()

        def wait_and_take(*arguments: Any) -> None:
            may_take.wait()
            take(*arguments)

        hub_member.HubMember.take = wait_and_take  # type: ignore[method-assign]

    def release(self) -> None:
        """Take what has come meanwhile."""
        self.may_take.set()

    def operators_tell(self, room: str, text: str) -> int:
        """Tell a room as an operator does, whose tool asks each worker."""
        return self.server.controls.tell(room, text.encode() + b"\n")

    def asks(self) -> int:
        """Return how often others were asked for anything."""
        return self.asked

    def heard_events(self) -> list[str]:
        return self.events

    def ends(self) -> dict[str, int]:
        closed = self.server.connections.closed
        return {reason.value: count for reason, count in closed.items()}

    def close_subscriptions(self) -> None:
        self.server.exchange.close_subscriptions()

    def waited(self) -> int:
        """Return how often an answer was waited for."""
        return self.waits

    def missed(self) -> int:
        return self.member.missed

    def books(self) -> list[int]:
        return list(self.server.connections.balance)

    def missed_by_clients(self) -> list[int]:
        return [connection.missed for connection in self.server.connections.values()]

    def reach(self, address: str) -> None:
        """Leave the hub for another one."""
        self.member.close()
        self.member = HubMember(
            core_of(self.server.listeners[0]), bytes.fromhex(address), self.number
        )
        self.member.start()

    def leave_the_others(self) -> None:
        self.member.close()


def main(said: dict[str, Any]) -> None:
    number = said.pop("number")
    address = bytes.fromhex(said.pop("address"))
    # Numbers come from the supervisor, else: no two connections have the same.
    connection._numbers = itertools.count(number * 1000)
    child_side.ANSWERS_WITHIN = notices.ATTACHES_WITHIN = PATIENCE
    hub_link.ANSWERS_WITHIN = said.pop("waits", PATIENCE)
    hub_member.MOST_TOPICS = said.pop("most_topics", hub_member.MOST_TOPICS)
    with Server(Talker, "tcp://127.0.0.1:0", idle_timeout=None, **said) as server:
        member = HubMember(core_of(server.listeners[0]), address, number)
        program = Program(server, number, member)
        member.start()
        print(server.addresses[0].port, flush=True)  # type: ignore[union-attr]
        for line in sys.stdin:
            verb, *arguments = json.loads(line)
            print(json.dumps(getattr(program, verb)(*arguments)), flush=True)
        program.member.close()


if __name__ == "__main__":
    main(json.loads(sys.argv[1]))
