"""The children of the engine `processes`: their fork, their end, and what they hear of their parent's."""

import contextlib
import fcntl
import os
import select
import signal
import time
from collections.abc import Callable
from types import FrameType

from manyhands.engines.engine import Task
from manyhands.runtime.error_reports import print_uncaught
from manyhands.runtime.fork_hooks import fork_without_warning, renew_in_copies, shared_page
from manyhands.runtime.sockets import has_hung_up
from manyhands.runtime.unpatched import original
from manyhands.runtime.wakeup import wait_until_readable

CHILD_POLL_INTERVAL = 0.02
"""Seconds between two looks at the children where no pidfd tells when one ends."""

LONGEST_CHILD_WAIT = 0.5
"""Seconds between two looks at the children where pidfds tell: another thread may reap the last one first,
and then no descriptor becomes readable."""

LONGEST_SILENCE = 1.0
"""Seconds that a fork which ended in an exception gets for its child to say that it is there."""

_PID, _IS_GIVEN_UP, _TOLD, _IS_TO_ATTACH, _ASKED_AT, _ANSWERED, _LENGTH, _STEP, _WANTED, _TAKEN = (
    range(10)
)
"""The numbers at the beginning of the memory that a child shares with its parent; a stack follows them."""

_STACK = 10 * 8
"""Where the stack begins there."""


class Child:
    """The process that carries one task. Made before the fork, with all that could not be had after it.

    Raises
    ------
    OSError
        When there is no memory to share with it (ENOMEM in mmap(2)), or no descriptor for what is kept.
    """

    __slots__ = ("_shared", "_stack", "kept", "lifeline", "pid", "pidfd", "status", "task")

    def __init__(self, task: Task) -> None:
        self.task = task
        page = shared_page()
        # No lock: each number is written in one piece.
        self._shared = page[:_STACK].cast("d")
        self._stack = page[_STACK:]
        self.kept = task.copy_to_keep()
        """What the parent alone keeps of the task."""

        self.lifeline: Lifeline | None = None
        """What tells it of its parent's end, where that is asked for."""

        self.pid = 0
        """Its id; 0 before the fork, and in the child."""

        self.pidfd = -1
        """What refers to the process, whatever its id is used for later; -1 where there is none."""

        self.status: int | None = None
        """Its exit status, the negative number of a signal; None until that has been taken."""

    def fork(self) -> bool:
        """Fork the process; return True in the child.

        Raises
        ------
        OSError
            When there is no process to be had; `pid` is 0 then.
        BaseException
            What a signal handler, or the program's own `os.fork`, raised. If there is a child, `pid` tells.
        """
        here = os.getpid()
        try:
            # The engine has a warning of its own, before the fork.
            self.pid = fork_without_warning(os)
        except BaseException as error:
            if os.getpid() != here:
                os._exit(1)  # else the child would go on with what its parent does
            if not self.pid and not (isinstance(error, OSError) and error.errno):
                self._learn_pid()
            if not (self.pid and isinstance(error, Warning)):
                raise
            print_uncaught(error)
        if self.pid:
            return False
        self._shared[_PID] = os.getpid()
        if self._shared[_IS_GIVEN_UP]:
            os._exit(1)
        return True

    def drop_kept(self) -> None:
        """Give back what was to be kept: in the child, and where none could be had."""
        if self.kept is not None:
            self.kept.close()

    def _learn_pid(self) -> None:
        """Wait until the child has said that it is there, if it is; else have it end when it comes."""
        sleep, deadline = original(time, "sleep"), time.monotonic() + LONGEST_SILENCE
        while not self._shared[_PID] and time.monotonic() < deadline:
            sleep(0.001)
        if not self._shared[_PID]:
            self._shared[_IS_GIVEN_UP] = 1
        self.pid = int(self._shared[_PID])

    def tell(self, number: int) -> None:
        """Have the parent know a number, in the child. In a copy that a handler made nothing happens."""
        if self._shared[_PID] == os.getpid():
            self._shared[_TOLD] = number

    def tell_step(self, number: int) -> None:
        """Have the parent know of a step of the task, in the child, as `tell` does."""
        if self._shared[_PID] == os.getpid():
            self._shared[_STEP] = number

    @property
    def step(self) -> int:
        """The last step of the task that it has told of; 0: of none."""
        return int(self._shared[_STEP])

    def ask_to_attach(self) -> None:
        """Have it know that its parent wants to tell it something."""
        self._shared[_IS_TO_ATTACH] = 1

    @property
    def is_to_attach(self) -> bool:
        """Whether its parent wants to tell it something."""
        return bool(self._shared[_IS_TO_ATTACH])

    def ask_for_stack(self, now: float) -> None:
        """Have it know that its parent wants to know where it stands; `now` is later than ever before."""
        self._shared[_ASKED_AT] = now

    def tell_stack(self, frame: FrameType) -> None:
        """Tell where the task stands, in the child, if that is asked for; `frame` is the one on top."""
        asked_at = self._shared[_ASKED_AT]
        if asked_at <= self._shared[_ANSWERED] or self._shared[_PID] != os.getpid():
            return
        text = "\n".join(_calls(frame, self.task)).encode(errors="backslashreplace")
        # The innermost calls, where there is no room for all.
        text = text[-len(self._stack) :]
        self._stack[: len(text)] = text
        self._shared[_LENGTH] = len(text)
        self._shared[_ANSWERED] = asked_at

    def stack_since(self, moment: float) -> list[str] | None:
        """Return where the task stands, as `Engine.stacks_elsewhere`; None where it has told none since."""
        if self._shared[_ANSWERED] < moment:
            return None
        text = bytes(self._stack[: int(self._shared[_LENGTH])])
        return text.decode(errors="replace").splitlines()

    def ask_to_act(self, now: float) -> None:
        """Have it know that the signal which follows is its parent's; `now` is later than ever before."""
        self._shared[_WANTED] = now

    def act_if_asked(self, act: Callable[[], bool]) -> None:
        """Call `act` in the child, once for each question of its parent's; False leaves that unanswered."""
        asked_at, before = self._shared[_WANTED], self._shared[_TAKEN]
        if asked_at <= before or self._shared[_PID] != os.getpid():
            return
        # First, for the same signal may come again meanwhile.
        self._shared[_TAKEN] = asked_at
        if not act():
            self._shared[_TAKEN] = before

    def has_acted_since(self, moment: float) -> bool:
        """Tell whether it has done what it was asked for at a moment, or has ended."""
        return self.status is not None or self._shared[_TAKEN] >= moment

    @property
    def told(self) -> int:
        """What it has told its parent; 0: nothing."""
        return int(self._shared[_TOLD])

    def take_status(self) -> bool:
        """Take its exit status, if it has ended; return whether that is so."""
        try:
            ended, status = os.waitpid(self.pid, os.WNOHANG)
        except ChildProcessError:
            # The program has taken it: it waits for every child, or ignores SIGCHLD (waitpid(2)).
            self.guess_status()
        else:
            self.status = os.waitstatus_to_exitcode(status) if ended else None
        return self.status is not None

    def guess_status(self) -> None:
        """Take for its exit status, which the program has taken, what the child has told at its end."""
        # One that was killed, or has ended by itself, came to no end of its task.
        self.status = 0 if self.told else 1

    def kill(self) -> None:
        """Kill it, unless it is known to have ended."""
        self.signal(signal.SIGKILL)

    def signal(self, number: signal.Signals) -> None:
        """Send it a signal, unless it is known to have ended."""
        if self.status is not None:
            return  # another process may have its id by now
        # The program may have taken its status (ESRCH), or it may have become another user (EPERM).
        with contextlib.suppress(ProcessLookupError, PermissionError):
            if self.pidfd >= 0:
                signal.pidfd_send_signal(self.pidfd, number)
            elif not self.take_status():
                os.kill(self.pid, number)


def _calls(frame: FrameType | None, task: Task) -> list[str]:
    """Return the calls within a task, the innermost last."""
    found, outermost = [], type(task).process_request_thread.__code__
    while frame is not None and frame.f_code is not outermost:
        code = frame.f_code
        found.append(f"{code.co_filename}:{frame.f_lineno} in {code.co_qualname}")
        frame = frame.f_back
    return found[::-1]


class Lifeline:
    """A pipe whose writing end one process holds: when that ends, be it by SIGKILL, its copies get a signal.

    Not PR_SET_PDEATHSIG (prctl(2)), which tells of the end of the thread that forked.

    Raises
    ------
    OSError
        When no descriptors can be had.
    """

    def __init__(self) -> None:
        self._has_told = False
        self._reader = self._writer = -1  # should the next line fail
        self._reader, self._writer = os.pipe()
        renew_in_copies(self, Lifeline._drop_writer)

    def _drop_writer(self) -> None:
        writer, self._writer = self._writer, -1
        if writer >= 0:
            os.close(writer)

    def notify(self) -> None:
        """Have all copies of the process look at what it wants of them. Thread-safe."""
        # Each copy gets SIGIO for the byte, and reads none.
        with contextlib.suppress(OSError):
            os.write(self._writer, b".")
            os.read(self._reader, 1)

    def watch(
        self,
        act: Callable[[], object],
        look_up: Callable[[FrameType | None], object] = lambda _: None,
    ) -> None:
        """In a copy of the process: have `act` called in its main thread once the original has ended.

        And `look_up`, when that notifies, with the frame that is interrupted. Each is called by a handler of
        SIGIO, between two lines of the program, for which a wait of the system's is interrupted (EINTR).
        Where the system has no /proc, nothing is watched.
        """
        with contextlib.suppress(OSError, ValueError):
            # Opened anew: copies of one descriptor have one owner that gets signals (F_SETOWN in fcntl(2)).
            # CLOEXEC, so that a program which takes the handler's place gets none.
            own = os.open(
                f"/proc/self/fd/{self._reader}", os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC
            )
            before = signal.getsignal(signal.SIGIO)

            def look(number: int, frame: FrameType | None) -> None:
                self._look(act)
                look_up(frame)
                if callable(before):
                    before(number, frame)  # the program's own, for descriptors of its own

            signal.signal(signal.SIGIO, look)
            fcntl.fcntl(own, fcntl.F_SETOWN, os.getpid())
            fcntl.fcntl(own, fcntl.F_SETFL, os.O_NONBLOCK | os.O_ASYNC)
            os.close(self._reader)
            self._reader = own
            self._look(act)  # it may have ended before the signal was asked for
            look_up(None)

    def _look(self, act: Callable[[], object]) -> None:
        """Call `act` once the original has ended; from then on the end of any copy is a signal, too."""
        if self._has_told or not has_hung_up(self._reader):
            return
        self._has_told = True
        # No thread can be had for it, say: no error of the handler's, which the signal has interrupted.
        with contextlib.suppress(RuntimeError, MemoryError):
            act()

    def close(self) -> None:
        """Give the descriptors back. Once more does no harm."""
        self._drop_writer()
        reader, self._reader = self._reader, -1
        if reader >= 0:
            os.close(reader)

    __del__ = close


class ChildWatcher:
    """Tells which children have ended: by pidfd where the system has it.

    One thread at a time may call it, but for `fileno` and `wait`.
    """

    def __init__(self) -> None:
        self._watched: dict[int, Child] = {}
        self._unwatched: set[Child] = set()
        self._epoll: select.epoll | None = None
        if hasattr(os, "pidfd_open"):
            self._epoll = original(select, "epoll")()

    def fileno(self) -> int:
        """Return a descriptor that is readable from a watched child's end until its discard, or -1."""
        return -1 if self._epoll is None else self._epoll.fileno()

    def add(self, child: Child) -> None:
        """Watch a child; without a free descriptor it is left to the regular looks."""
        if self._epoll is not None:
            try:
                child.pidfd = os.pidfd_open(child.pid)
            except ProcessLookupError:
                child.guess_status()  # it has ended, and the program has taken the true one
            except OSError:
                pass
        if child.pidfd < 0 or self._epoll is None:
            self._unwatched.add(child)
            return
        self._watched[child.pidfd] = child
        try:
            self._epoll.register(child.pidfd, select.EPOLLIN)
        except OSError:
            del self._watched[child.pidfd]
            original(os, "close")(child.pidfd)
            child.pidfd = -1
            self._unwatched.add(child)

    def discard(self, child: Child) -> None:
        """Watch a child no longer."""
        if child.pidfd < 0:
            self._unwatched.discard(child)
        elif self._epoll is not None:
            # Closing alone would not do: a process forked meanwhile may hold a copy, and epoll reports a
            # descriptor until its last copy is closed (epoll(7)).
            self._epoll.unregister(child.pidfd)
            del self._watched[child.pidfd]
            original(os, "close")(child.pidfd)

    def candidates(self) -> list[Child]:
        """Return the children that may have ended: each that a pidfd tells of, or that has none."""
        found = list(self._unwatched)
        if self._epoll is not None and self._watched:
            found += [self._watched[pidfd] for pidfd, _ in self._epoll.poll(0)]
        return found

    def wait(self, timeout: float | None) -> None:
        """Sleep until a child may have ended, at most `timeout` seconds."""
        if self._epoll is None or not self._watched:
            time.sleep(
                CHILD_POLL_INTERVAL if timeout is None else min(timeout, CHILD_POLL_INTERVAL)
            )
        else:
            # Not epoll's own poll: in a program under `gevent.monkey` that would hold up all fibers.
            longest = LONGEST_CHILD_WAIT if timeout is None else min(timeout, LONGEST_CHILD_WAIT)
            wait_until_readable(self._epoll.fileno(), longest)

    def __del__(self) -> None:
        # A server that does not wait for its children is forgotten before they end.
        self.close()

    def close(self) -> None:
        """Give back the descriptors, in a forked child too: whatever is shared is left as it is."""
        for pidfd in self._watched:
            original(os, "close")(pidfd)
        self._watched.clear()
        if self._epoll is not None:
            self._epoll.close()
            self._epoll = None
