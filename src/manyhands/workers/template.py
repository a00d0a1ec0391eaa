"""The template: a process that has imported the program, and forks workers when its supervisor asks it to.

It is the same command, started once more; where the program begins to serve, it becomes the template, and
only the workers that are forked from it go on. It has one thread. A program that has started threads by then
cannot be forked safely: such a process becomes a worker itself, and there is one for each.

The channel to the supervisor (SOCK_SEQPACKET) carries objects of JSON, one a message, with descriptors.
"""

import contextlib
import errno
import gc
import json
import os
import select
import signal
import socket
import sys
from collections.abc import Mapping
from typing import Any, NoReturn

from manyhands._version import __version__
from manyhands.runtime.caller import is_main_thread
from manyhands.runtime.error_reports import print_uncaught
from manyhands.runtime.fork_hooks import change_signal_mask, system_fork
from manyhands.runtime.sockets import unix_socket
from manyhands.runtime.unpatched import count_other_threads, original
from manyhands.workers.program_files import program_files
from manyhands.workers.records import VERSION
from manyhands.workers.share import Share

MOST_MESSAGE = 256 * 1024
"""Bytes of a message at the most: the options of a server, and a few hundred addresses."""

MOST_FILES = 64 * 1024
"""Characters of the paths that are told of a program's files: a thousand folders, say."""

MOST_DESCRIPTORS = 253
"""Descriptors with a message (SCM_MAX_FD in unix(7))."""

_HELD_BACK = (signal.SIGQUIT, signal.SIGUSR1, signal.SIGUSR2)
"""What a terminal, or an operator, may send to all processes too, and ends those that have no handler. Held
back, and not ignored: of a handler in C (`faulthandler.register`) Python does not know, and would lose it."""

_IGNORED = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
"""What a terminal, or a service manager, sends to all processes of a service: the supervisor says what
follows."""


class Template:
    """What this process is as a template. For its main thread.

    Parameters
    ----------
    channel
        What leads to the supervisor.
    only_looks
        Whether it ends when it is ready: the supervisor wants to know whether an upgrade would do.
    """

    def __init__(self, channel: socket.socket, *, only_looks: bool = False) -> None:
        self._channel = channel
        self.only_looks = only_looks
        self._children: dict[int, int] = {}
        """The workers' processes by their pidfds."""

    def _say(self, said: Mapping[str, object], *descriptors: int) -> None:
        message = json.dumps(said).encode()
        if descriptors:
            socket.send_fds(self._channel, [message], descriptors)
        else:
            self._channel.send(message)

    def _tell(self, said: Mapping[str, object], *descriptors: int) -> None:
        """Say what a supervisor is to know of a template that is ready; if it has gone, come to the end."""
        try:
            self._say(said, *descriptors)
        except ConnectionError:
            self._end()

    @staticmethod
    def _end() -> NoReturn:
        # Without the program's own end: what it cleans up there is the workers' still.
        os._exit(0)

    def fail(self, sentence: str) -> None:
        """Tell the supervisor why there will be no worker."""
        with contextlib.suppress(OSError):
            self._say({"kind": "failed", "sentence": sentence[:4096], "files": files_of_program()})

    def refuse(self, sentence: str) -> NoReturn:
        """End the process, and have the supervisor tell why there will be no worker."""
        _flush()
        self.fail(sentence)
        os._exit(3)

    def ask(
        self, said: Mapping[str, object], *descriptors: int
    ) -> tuple[dict[str, Any], list[int]]:
        """Ask the supervisor something, before it is told that this template is ready; return its answer.

        Descriptors go with the question, and come with the answer.

        Raises
        ------
        OSError
            When it has gone.
        """
        self._say(said, *descriptors)
        message, came, _, _ = socket.recv_fds(
            self._channel, MOST_MESSAGE, MOST_DESCRIPTORS, socket.MSG_CMSG_CLOEXEC
        )
        if not message:
            raise ConnectionResetError(errno.ECONNRESET, os.strerror(errno.ECONNRESET))
        told: dict[str, Any] = json.loads(message)
        return told, came

    def serve(self, about: Mapping[str, object]) -> Share:
        """Fork workers as the supervisor asks; return in each of them what it is given.

        Parameters
        ----------
        about
            What the supervisor is to know of the program.

        The process ends when the supervisor needs it no more.
        """
        # A program may serve in another thread than its main one, which alone may say what signals do.
        before = {
            number: signal.signal(number, signal.SIG_IGN) for number in _IGNORED if is_main_thread()
        }
        mask = change_signal_mask(signal.SIG_BLOCK, _HELD_BACK)
        threads = count_other_threads()
        self._tell(
            {
                **about,
                "kind": "ready",
                "version": VERSION,
                "manyhands": __version__,
                "threads": threads,
            }
        )
        if self.only_looks:
            self._end()
        # What the program has made by now stays as it is: a collection would touch it, and copy each page.
        gc.collect()
        gc.freeze()
        share = self._answer()
        for number, handler in before.items():
            signal.signal(number, signal.SIG_DFL if handler is None else handler)
        change_signal_mask(signal.SIG_SETMASK, mask)
        return share

    def _answer(self) -> Share:
        poll = original(select, "poll")()
        poll.register(self._channel, select.POLLIN)
        while True:
            for descriptor, _ in poll.poll():
                if descriptor != self._channel.fileno():
                    poll.unregister(descriptor)
                    self._bury(descriptor)
                    continue
                asked = self._receive()
                if asked is None:
                    self._end()
                share, is_to_fork = asked
                if not is_to_fork:
                    self._channel.close()
                    return share
                forked = self._fork(share)
                if forked is None:
                    return share
                if forked >= 0:
                    poll.register(forked, select.POLLIN)

    def _receive(self) -> tuple[Share, bool] | None:
        """Return what a worker is given, and whether to fork it; None where the supervisor has gone."""
        try:
            message, descriptors, _, _ = socket.recv_fds(
                self._channel, MOST_MESSAGE, MOST_DESCRIPTORS, socket.MSG_CMSG_CLOEXEC
            )
        except ConnectionError:
            return None
        if not message:
            return None
        said = json.loads(message)
        return Share.of_plain(said, descriptors), said["kind"] == "fork"

    def _fork(self, share: Share) -> int | None:
        """Fork a worker; return its pidfd, -1 where there is none to be had; None in the worker."""
        _flush()
        pid = self._forked()
        if pid == 0:
            return None
        for descriptor in share.descriptors:
            os.close(descriptor)
        if pid < 0:
            self._tell({"kind": "not_forked", "slot": share.slot, "sentence": os.strerror(-pid)})
            return -1
        pidfd = os.pidfd_open(pid)
        self._children[pidfd] = pid
        self._tell({"kind": "forked", "slot": share.slot, "pid": pid}, pidfd)
        return pidfd

    def _forked(self) -> int:
        """Fork; return the child's id, 0 in the child, or a negative errno."""
        # A signal that came before the worker has its own handlers would find the template's.
        mask = change_signal_mask(signal.SIG_BLOCK, signal.valid_signals())
        try:
            pid = system_fork()
            if not pid:
                try:
                    self._become_worker()
                except OSError as error:
                    # In the worker: nothing of it may come to the template's own frames.
                    print_uncaught(error)
                    os._exit(1)
        except OSError as error:
            return -(error.errno or 1)
        finally:
            change_signal_mask(signal.SIG_SETMASK, mask)
        return pid

    def _become_worker(self) -> None:
        self._channel.close()
        for pidfd in self._children:
            os.close(pidfd)
        self._children.clear()
        reinit = getattr(sys.modules.get("gevent"), "reinit", None)
        if reinit is not None:
            reinit()

    def _bury(self, pidfd: int) -> None:
        pid = self._children.pop(pidfd)
        _, status = os.waitpid(pid, 0)
        os.close(pidfd)
        self._tell({"kind": "ended", "pid": pid, "status": os.waitstatus_to_exitcode(status)})


def files_of_program() -> list[str]:
    """Return where the files are that this process has imported of the program, as many as may be told."""
    told, left = [], MOST_FILES
    for file in sorted(program_files(sys.modules)):
        left -= len(file)
        if left < 0:
            break
        told.append(file)
    return told


def _flush() -> None:
    """Write what is buffered, which each worker would write too."""
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, ValueError, AttributeError):
            stream.flush()


def template_of(said: str) -> Template | None:
    """Make the template that the environment asks for; None where what it says is no such thing.

    Raises
    ------
    SystemExit
        When the supervisor is of another version, which is told.
    """
    try:
        terms: dict[str, Any] = json.loads(said)
        channel = unix_socket(socket.SOCK_SEQPACKET, int(terms["channel"]))
        channel.set_inheritable(False)
    except (ValueError, KeyError, TypeError, OSError):
        return None  # of a process whose environment this one has by mistake
    only_looks = bool(terms.get("only_to_look"))
    template = Template(channel, only_looks=only_looks)
    if terms.get("version") != VERSION:
        hint = "start it anew" if only_looks else "upgrade it"
        template.fail(
            f"manyhands {__version__} is installed now, which does not go with the supervisor that runs: "
            f"{hint}"
        )
        raise SystemExit(3)
    return template
