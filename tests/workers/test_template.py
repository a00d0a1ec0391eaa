"""A template whose supervisor has gone comes to its end, and has nothing to say about it."""

import os
import socket

import pytest

from manyhands.runtime.sockets import unix_pair
from manyhands.workers.template import Template
from tests.support.copies import forked

pytestmark = pytest.mark.filterwarnings("ignore:.*fork")


def template_alone() -> Template:
    here, there = unix_pair(socket.SOCK_SEQPACKET)
    here.close()
    return Template(there)


def test_one_that_is_ready() -> None:
    def be_ready() -> bool:
        template_alone().serve({})
        return False

    with forked(be_ready) as wait:
        assert wait() == 0


def test_one_whose_worker_has_ended() -> None:
    def bury() -> bool:
        template = template_alone()
        worker = os.posix_spawn("/bin/true", ["true"], {})
        ended = os.pidfd_open(worker)
        template._children[ended] = worker
        template._bury(ended)
        return False

    with forked(bury) as wait:
        assert wait() == 0
