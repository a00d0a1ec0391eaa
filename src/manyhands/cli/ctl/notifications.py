"""What a server tells `manyhands ctl watch`, as it comes, until one of the two ends."""

import select
import sys
from collections.abc import Iterator

from manyhands.control.client import Client, Notification
from manyhands.runtime.sockets import descriptor_of
from manyhands.runtime.wakeup import WakeUp


def notifications(client: Client) -> Iterator[Notification]:
    """Yield what a server tells, as it comes.

    Raises
    ------
    BrokenPipeError
        The reader of standard output has gone: that would be seen at the next print, which may be a day away.
    Lost
        The connection has ended.
    """
    poll = select.poll()
    output = descriptor_of(sys.stdout)
    poll.register(client.fileno(), select.POLLIN)
    if output >= 0:
        poll.register(output, 0)
    # A Ctrl-C that comes just before the wait would be lost in it, for a day perhaps.
    with WakeUp() as wakeup, wakeup.woken_by_signals():
        poll.register(wakeup, select.POLLIN)
        while True:
            notification = client.receive(0)
            if notification is not None:
                yield notification
                continue
            if any(descriptor == output for descriptor, _ in poll.poll()):
                raise BrokenPipeError
            wakeup.drain()
