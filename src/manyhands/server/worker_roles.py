"""Which part a process has of a server with workers: supervisor, template or worker."""

import contextlib
import os
import socket
import sys
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Never

from manyhands.listening.bind import sentence_of
from manyhands.model.addresses import Address
from manyhands.model.usage_errors import Mistake
from manyhands.runtime.error_reports import print_uncaught
from manyhands.runtime.unpatched import count_other_threads
from manyhands.server.new_addresses import asked_for
from manyhands.server.stand_ins import HandlerElsewhere, ProgramElsewhere
from manyhands.serving.controls import name_of_handler
from manyhands.supervisor.template_process import CopyOfThis, Program, SameCommand, Starter
from manyhands.workers.role import take_template
from manyhands.workers.share import Share
from manyhands.workers.template import Template, files_of_program

if TYPE_CHECKING:
    from manyhands.server.supervised_sockets import SupervisedSockets


def supervised_by(handler: object) -> "type[SupervisedSockets]":
    """Return what serves a handler with workers, or a program."""
    if isinstance(handler, ProgramElsewhere):
        from manyhands.server.program_sockets import ProgramSockets  # noqa: PLC0415 - of few

        return ProgramSockets
    from manyhands.server.supervised_sockets import SupervisedSockets  # noqa: PLC0415 - as above

    return SupervisedSockets


def starter(
    handler: object, generation: int, become: Callable[[socket.socket], object], *, is_purpose: bool
) -> Starter:
    """Return what starts the template of a generation.

    The first one of a program's own server is a copy of the program as it is. Later ones are of the code that
    is on disk then, where the server is what its process is for (`run`).
    """
    if isinstance(handler, ProgramElsewhere):
        return Program(handler.command, handler.environment)
    if isinstance(handler, HandlerElsewhere):
        return SameCommand()
    if is_purpose and (generation > 1 or count_other_threads() > 1):
        return SameCommand()
    return CopyOfThis(become)


def share_of_template(handler: object, addresses: Iterable[Address], *, tells_files: bool) -> Share:
    """Be the template that this process is to be; return, in each worker, what it is given.

    `tells_files` is whether the supervisor wants to know the files of the program.

    Raises
    ------
    SystemExit
        When it only looks whether an upgrade would do, and there are no such addresses.
    """
    template = take_template()
    assert template is not None  # noqa: S101 - tells the type checker: the caller has asked
    about = _about(handler, tells_files=tells_files)
    if template.only_looks:
        try:
            about["addresses"] = asked_for(addresses)
        except (Mistake, OSError) as error:
            template.fail(sentence_of(error))
            raise SystemExit(3) from None
    return template.serve(about)


def share_of_copy(handler: object, channel: socket.socket, *, tells_files: bool) -> Share:
    """Be a template in a copy of the supervisor's process, in the same way."""
    return Template(channel).serve(_about(handler, tells_files=tells_files))


def _about(handler: object, *, tells_files: bool) -> dict[str, object]:
    files = files_of_program() if tells_files else []
    return {"handler": name_of_handler(handler), "files": files}


def end_copy_after(run: Callable[[], object]) -> Never:
    """Serve in a worker that is a copy of the supervisor's process, and end it.

    Without the program's own cleaning up, which is the original's.
    """
    status = 1
    try:
        run()
        status = 0
    except BaseException as error:  # noqa: BLE001 - it must not come to the program's own frames
        print_uncaught(error)
    finally:
        for stream in (sys.stdout, sys.stderr):
            with contextlib.suppress(OSError, ValueError, AttributeError):
                stream.flush()
        os._exit(status)
