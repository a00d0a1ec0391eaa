"""Parents that cannot take what a handler's process says: without descriptors, stopped, or gone."""

import os
import resource
import signal
from contextlib import closing

import pytest

from manyhands.dealing.uplink import Uplink
from manyhands.testing import wait_until
from tests.dealing.kit import clients, stopped
from tests.support import Program, forked
from tests.support.waiting import PATIENCE

pytestmark = pytest.mark.filterwarnings("ignore:.*fork")

PROGRAM = """
import os, resource, signal, threading, warnings
warnings.simplefilter("ignore")
from manyhands import socketserver
from tests.dealing.kit import Speaker, be_patient

be_patient()
taken = []

def spend(*_):
    try:
        while True:
            taken.append(os.dup(0))
    except OSError:
        print("spent", flush=True)

def recover(*_):
    while taken:
        os.close(taken.pop())
    print("recovered", flush=True)

resource.setrlimit(resource.RLIMIT_NOFILE, (100, 100))
signal.signal(signal.SIGUSR1, spend)
signal.signal(signal.SIGUSR2, recover)
with socketserver.ForkingTCPServer(("127.0.0.1", 0), Speaker) as server:
    print(server.server_address[1], flush=True)
    server.serve_forever()
"""


def test_a_handler_whose_parent_has_no_descriptors_is_told_so_and_joins_once_there_are() -> None:
    with (
        Program(["-c", PROGRAM]) as parent,
        clients(("127.0.0.1", int(parent.line())), 2) as (anna, bob),
    ):
        assert anna.ask("join red anna") == "True"
        parent.send(signal.SIGUSR1)
        assert parent.line() == "spent"
        assert bob.ask("join red bob") == "False"
        assert bob.ask("members red") == "[]"
        assert anna.ask("tell red nobody") == "0"
        parent.send(signal.SIGUSR2)
        assert parent.line() == "recovered"
        assert bob.ask("join red bob") == "True"
        assert anna.ask("members red") == "['anna', 'bob']"
        assert anna.ask("tell red both") == "1"
        assert bob.hear() == "both"


def test_what_a_stopped_parent_has_not_answered_is_no_membership_later() -> None:
    with (
        Program(["-c", PROGRAM]) as parent,
        clients(("127.0.0.1", int(parent.line())), 2) as (anna, bob),
    ):
        assert bob.ask("join blue bob") == "True"
        assert anna.ask("wait-at-most 0.2") == "None"
        with stopped(parent.pid):
            assert anna.ask("join red anna") == "False"
        assert anna.ask(f"wait-at-most {PATIENCE}") == "None"
        # It is asked after that.
        assert anna.ask("members red") == "[]"
        assert bob.ask("tell red nobody") == "0"
        assert anna.ask("join red anna") == "True"
        assert bob.ask("tell red anna") == "1"
        assert anna.hear() == "anna"


def test_a_handler_that_is_killed_while_its_parent_is_stopped_has_left_its_rooms() -> None:
    with (
        Program(["-c", PROGRAM]) as parent,
        clients(("127.0.0.1", int(parent.line())), 2) as (anna, bob),
    ):
        assert [anna.ask("join red anna"), bob.ask("join red bob")] == ["True", "True"]
        with stopped(parent.pid):
            anna.kill()
        wait_until(lambda: bob.ask("members red") == "['bob']")


def test_an_uplink_that_cannot_be_had_is_an_error_and_nothing_else(
    capfd: pytest.CaptureFixture[str],
) -> None:
    def in_the_copy() -> bool:
        resource.setrlimit(resource.RLIMIT_NOFILE, (50, 50))
        try:
            while True:
                os.dup(0)
        except OSError:
            pass
        try:
            Uplink()
        except OSError:
            return True
        return False

    with closing(Uplink()), forked(in_the_copy) as exit_code:
        assert exit_code() == 0
    assert capfd.readouterr().err == ""
