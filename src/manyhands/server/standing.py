"""How a `manyhands.Server` stands still, and how somebody waits for its connections."""

from manyhands.config.option_types import Seconds, Whole
from manyhands.model.usage_errors import Mistake
from manyhands.runtime.blocking_calls import blocking
from manyhands.server.listener import Listener
from manyhands.server.run import Run
from manyhands.serving import suspend
from manyhands.serving.core import EngineRoom

_COUNT = Whole(at_least=0)
_TIME = Seconds(may_be_zero=True)


class ServerStanding:
    """What `manyhands.Server` inherits to stand still, and to be waited for."""

    _room: EngineRoom
    _listeners: list[Listener]
    _run: Run

    def suspend(self) -> None:
        """Accept nobody until `resume`: the kernel's backlog holds who calls, and who is connected goes on.

        Thread-safe, from handlers too, but for forked ones (`RuntimeError`). Before the server listens, it
        has it begin that way. A handler's `self.server.suspend()` concerns the one address that was called.
        """
        self._stand_still(is_to=True)

    def resume(self) -> None:
        """Accept connections again, on all addresses, after `suspend`. Thread-safe."""
        self._stand_still(is_to=False)

    def _stand_still(self, *, is_to: bool) -> None:
        self._run.is_suspended = is_to
        for listener in self._listeners:
            suspend.stand_still(listener, is_to=is_to)

    def wait_for_connections(
        self,
        n: int | None = None,
        timeout: float | None = None,
        *,
        at_least: int | None = None,
        at_most: int | None = None,
    ) -> bool:
        """Wait until `n` connections are open, or between `at_least` and `at_most`, however shortly.

        Thread-safe, from handlers too; on fibers the others run meanwhile.

        Parameters
        ----------
        n : int, optional
            Exactly so many.
        timeout : float, optional
            Seconds; None: without end.
        at_least, at_most : int, optional
            In the place of `n`: so many or more, so many or fewer.

        Returns
        -------
        bool
            False when that has not come about in `timeout` seconds.

        Raises
        ------
        Mistake
            When it is not said how many to wait for, or in two ways, or what is said is no number, or can
            never come about.
        """
        if (n is None) == (at_least is None and at_most is None):
            raise Mistake("wait_for_connections takes n, or at_least and at_most")
        for name, count in (("n", n), ("at_least", at_least), ("at_most", at_most)):
            _check(name, count, _COUNT)
        _check("timeout", timeout, _TIME)
        least, most = (at_least, at_most) if n is None else (n, n)
        if least is not None and most is not None and least > most:
            raise Mistake(f"at_least {least} is more than at_most {most}: that never comes about")
        return blocking(self._room.books.wait_for, least, most, timeout)


def _check(name: str, value: object, kind: Whole | Seconds) -> None:
    if value is not None and not kind.fits(value):
        raise Mistake(f"{name} must be {kind.expected}, or none, not {value!r}")
