"""A process has one server with workers at a time; a second one is told so."""

import os

import pytest

from manyhands import Mistake, Server
from manyhands.server import one_supervisor
from tests.supervisor.kit import Caller, Pid
from tests.support.processes import children_of
from tests.support.running import bound

ANY = "tcp://127.0.0.1:0"


def test_a_second_one_is_refused_in_a_sentence_and_leaves_nothing_and_comes_later() -> None:
    second = Server(Pid, ANY, workers=1)
    with Server(Pid, ANY, workers=1) as first:
        processes = children_of(os.getpid())
        with pytest.raises(Mistake, match="has a server with workers already"):
            second.start()
        assert second.addresses == []
        assert children_of(os.getpid()) == processes
        # One without workers is as ever.
        with Server(Pid, ANY) as plain, Caller(bound(plain)) as caller:
            assert caller.ask() == os.getpid()
        with Caller(bound(first)) as caller:
            assert caller.ask() != os.getpid()
    with second, Caller(bound(second)) as caller:
        assert caller.ask() != os.getpid()


def test_one_that_could_not_start_is_in_nobody_s_way() -> None:
    with (
        Server(Pid, ANY) as plain,
        pytest.raises(OSError, match="in use"),
    ):
        Server(Pid, f"tcp://127.0.0.1:{bound(plain)[1]}", workers=1).start()
    with Server(Pid, ANY, workers=1) as server, Caller(bound(server)) as caller:
        assert caller.ask() != os.getpid()


def test_one_that_is_there_no_more_is_in_nobody_s_way() -> None:
    class Sockets:
        """Supervises nothing."""

    gone, here = Sockets(), Sockets()
    one_supervisor.claim(gone)
    with pytest.raises(Mistake):
        one_supervisor.claim(here)
    del gone
    one_supervisor.claim(here)
    one_supervisor.release(Sockets())
    with pytest.raises(Mistake):
        one_supervisor.claim(Sockets())
    one_supervisor.release(here)
