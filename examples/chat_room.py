"""A chat room: names that are taken once, rooms, private messages, and who is here.

    python examples/chat_room.py --bind tcp://127.0.0.1:8009 --engine fibers
    nc 127.0.0.1 8009

There is no list of clients here, and no lock: all that the handlers share is the rooms of their server.
`tell` never waits, so a client that reads nothing holds up no other one.
"""

import argparse
import re
import secrets
import sys
import time
import unicodedata
from collections import Counter

from manyhands import Mistake, Server, StreamRequestHandler, blocking

LONGEST_LINE = 1000  # bytes
PAUSE = 0.05  # seconds that a line takes, on average

# Other characters of their kind move a terminal's cursor, change its colours, or turn the text around. U+200C
# is in Persian words, and U+200D in emoji.
HARMLESS = "\t\u200c\u200d"

HELP = """\
/join ROOM      go to a room, which is made if there is none
/leave          go back to the hall
/rooms          which rooms there are, and how many are in each
/who            who is in this room
/msg NAME TEXT  tell one person alone
/nick NAME      take another name
/quit           leave
Any other line is told to all in this room."""

# The members of these rooms are never told anything. Their lists are what the program knows:
ROOMS = "rooms"  # here each client goes by the name of the room that it is in
OWNER = "owner {}"  # the first member has the name


class ChatRoom(StreamRequestHandler):
    """Serves one client, from its name to its end."""

    name = ""
    room = ""
    due = 0.0

    def handle(self) -> None:
        self.token = secrets.token_hex(8)  # tells this client from one that wants the same name
        self.say("Welcome. What is your name?")
        while not self.name:
            line = self.read_line()
            if line is None:
                return
            self.take_name(line)
        # One that only listens is welcome. If it is gone it acknowledges nothing, and write_timeout ends it.
        self.deadlines.idle_timeout = None
        self.say(f"Hello {self.name}. /help says what you can do.")
        try:
            self.enter("hall")
            while (line := self.read_line()) is not None and line != "/quit":
                self.answer(line)
                self.slow_down()
        finally:
            self.leave(f"in {self.room}")
            self.leave(ROOMS)
            self.tell_others(f"* {self.name} has gone")

    def answer(self, line: str) -> None:
        """Do what one line says."""
        match line.split(maxsplit=2):
            case ["/join", room]:
                self.enter(room.removeprefix("#"))
            case ["/leave"]:
                self.enter("hall")
            case ["/rooms"]:
                sizes = Counter(self.names_in(ROOMS))
                self.say(", ".join(f"{room} ({size})" for room, size in sorted(sizes.items())))
            case ["/who"]:
                self.say(", ".join(sorted(self.names_in(f"in {self.room}"))))
            case ["/msg", name, text]:
                self.tell_one(name, text)
            case ["/nick", name]:
                self.take_name(name)
            case [word, *_] if word.startswith("/"):
                self.say(HELP)
            case _:
                self.tell_others(f"{self.name}: {line}")

    def slow_down(self) -> None:
        """Wait, if this client talks all the time: what it says would fill the outboxes of slow members."""
        now = time.monotonic()
        self.due = max(self.due, now - 1) + PAUSE
        if self.due > now:
            blocking(time.sleep, self.due - now)  # on fibers, the others run meanwhile

    def take_name(self, name: str) -> None:
        """Take a name, unless another client has it."""
        name = unicodedata.normalize("NFKC", name.strip())
        key = name.casefold()
        if not re.fullmatch(r"\w{1,20}", name):
            self.say("A name has 1 to 20 letters, digits or underscores.")
        elif key == self.name.casefold() or self.is_first(key):
            old, self.name = self.name, name
            if old and old.casefold() != key:
                # In this order: nothing that is for the name comes here once another client may have it.
                self.leave(f"to {old.casefold()}")
                self.leave(OWNER.format(old.casefold()))
            self.join(f"to {key}")
            if old:
                self.join(f"in {self.room}", name)
                self.tell_others(f"* {old} is {name} now")
                self.say(f"You are {name} now.")
        else:
            self.say(f"The name {name} is taken. Choose another one.")

    def is_first(self, key: str) -> bool:
        """Tell whether a name was free, and is this client's now; of two at the same time one has it."""
        owner = OWNER.format(key)
        self.join(owner, self.token)
        is_first = self.names_in(owner)[:1] == [self.token]
        if not is_first:
            self.leave(owner)
        return is_first

    def names_in(self, room: str) -> list[str]:
        """Return the names of a room's members, in the order in which they came."""
        return [member.name for member in self.server.members(room)]

    def enter(self, room: str) -> None:
        """Go from one room to another."""
        if not re.fullmatch(r"\w{1,20}", room):
            self.say("The name of a room has 1 to 20 letters, digits or underscores.")
            return
        if room == self.room:
            self.say(f"You are in {room} already.")
            return
        if self.room:
            self.leave(f"in {self.room}")
            self.tell_others(f"* {self.name} has left")
        self.room = room
        self.join(f"in {room}", self.name)
        self.join(ROOMS, room)
        self.tell_others(f"* {self.name} has come")
        self.say(f"You are in {room}.")

    def tell_others(self, text: str) -> None:
        """Tell all others in the room. What they do not read waits for them, not for this handler."""
        self.server.tell(f"in {self.room}", f"{text}\n".encode(), but=self)

    def tell_one(self, name: str, text: str) -> None:
        """Tell one other client: each has a room of its own."""
        piece = f"{self.name} (to you alone): {text}\n".encode()
        if not self.server.tell(f"to {name.casefold()}", piece):
            self.say(f"There is no {name} here. /who names those in this room.")

    def say(self, text: str) -> None:
        """Tell this client. `wfile` takes its turn among what others tell it, so no lines mix."""
        self.wfile.write(f"{text}\n".encode())

    def read_line(self) -> str | None:
        """Return the next line that may be told to others; None when no more comes."""
        while line := self.rfile.readline(LONGEST_LINE):
            if len(line) == LONGEST_LINE and not line.endswith(b"\n"):
                self.say(f"A line has at most {LONGEST_LINE} bytes; yours was told to no one.")
                while line and not line.endswith(b"\n"):
                    line = self.rfile.readline(LONGEST_LINE)
                continue
            try:
                text = line.decode().strip()
            except UnicodeDecodeError:
                self.say("That line is not UTF-8; it was told to no one.")
                continue
            if any(c not in HARMLESS and unicodedata.category(c) in {"Cc", "Cf"} for c in text):
                self.say("That line has control characters; it was told to no one.")
            elif text:
                return text
        return None


def main() -> None:
    parser = argparse.ArgumentParser(description="A chat room.")
    parser.add_argument("--bind", default="tcp://127.0.0.1:8009", help="the address (%(default)s)")
    parser.add_argument(
        "--engine", default="threads", help="threads, fibers or processes (%(default)s)"
    )
    options = parser.parse_args()
    try:
        server = Server(ChatRoom, options.bind, engine=options.engine)
        server.run(lambda: print(f"chat room on {server.addresses[0]}", flush=True))
    except (Mistake, OSError) as error:
        sys.exit(f"chat_room.py: {error}")


if __name__ == "__main__":
    main()
