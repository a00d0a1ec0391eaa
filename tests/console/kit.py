"""What the tests of the screen share: screens without a terminal, driven by Textual's pilot."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

from textual.events import Key
from textual.pilot import Pilot
from textual.widgets import Input

from manyhands.console.screen import Top
from manyhands.console.view import View
from manyhands.control.discovery import Follower
from tests.support.waiting import PATIENCE

INTERVAL = 0.1
"""Seconds between two looks of a screen under test."""


class Screen:
    """The screen as a person has it: eyes and keys."""

    def __init__(self, pilot: Pilot[Any]) -> None:
        self.pilot = pilot
        self.app = pilot.app
        assert isinstance(self.app, Top)

    def rows(self) -> list[str]:
        """Return what each row of the terminal shows."""
        return [strip.text.rstrip() for strip in self.app.screen._compositor.render_strips()]

    def text(self) -> str:
        """Return all of it."""
        return "\n".join(self.rows())

    def table(self) -> list[str]:
        """Return the rows of the table, without its headings."""
        region = self.app.query_one("#connections").region
        return self.rows()[region.y + 1 : region.bottom]

    async def until(self, condition: Callable[[], Any]) -> Any:
        """Wait until a condition gives something true; return that."""
        deadline = asyncio.get_running_loop().time() + PATIENCE
        while not (found := condition()):
            assert asyncio.get_running_loop().time() < deadline, self.text()
            await asyncio.sleep(0.005)
        return found

    async def sees(self, *texts: str) -> None:
        """Wait until all these are on the screen."""
        await self.until(lambda: all(text in self.text() for text in texts))

    async def sees_no(self, text: str) -> None:
        """Wait until this is on the screen no more."""
        await self.until(lambda: text not in self.text())

    def presses(self, *keys: str) -> None:
        """Press keys, one after the other; what they do is to be waited for.

        The pilot's own way waits after each key until the process is idle, which one that follows a server
        never is.
        """
        for key in keys:
            self.app.post_message(Key(key, key if len(key) == 1 else None))

    async def types(self, text: str) -> None:
        """Type a text where a line is to be typed, in the place of what stands there, and Enter."""
        await self.until(lambda: isinstance(self.app.focused, Input))
        line = self.app.focused
        assert isinstance(line, Input)
        # What a key is bound to comes later than what it writes.
        if line.value:
            self.presses("ctrl+u")
            await self.until(lambda: not line.value)
        self.presses(*text)
        await self.until(lambda: line.value == text)
        self.presses("enter")


def look(
    place: str,
    scenario: Callable[[Screen], Awaitable[None]],
    size: tuple[int, int] = (120, 30),
    interval: float = INTERVAL,
) -> int | None:
    """Look at the server at a place while a scenario goes on; return the exit status."""

    async def run() -> int | None:
        follower = Follower(place)
        top = Top(follower.connect(), follower, View(), interval)
        async with top.run_test(size=size) as pilot:
            await scenario(Screen(pilot))
            # A key that comes while the screen is taken down is Textual's to mind.
            await pilot.pause(0)
        return top.return_value

    return asyncio.run(run())
