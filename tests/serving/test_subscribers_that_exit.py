"""A subscriber that raises what is no `Exception` leaves no connection open in the books."""

import pytest

from manyhands import events
from manyhands.model.event_hub import EventHub
from tests.support import ENGINES, Echo, call, run_python, server_class, serving

HERE = ("127.0.0.1", 0)

pytestmark = pytest.mark.filterwarnings(
    "ignore:.*fork", "ignore::pytest.PytestUnhandledThreadExceptionWarning"
)


def test_every_subscriber_hears_of_an_event_before_it_is_raised() -> None:
    hub, heard = EventHub(), []

    def leave(event: events.Event) -> None:
        heard.append("first")
        raise KeyboardInterrupt

    hub.subscribe(leave)
    hub.subscribe(lambda event: heard.append("second"))
    with pytest.raises(KeyboardInterrupt):
        hub.emit(events.NothingToReload("SIGHUP"))
    assert heard == ["first", "second"]


PROGRAM = """
    import os, socket, sys, threading, warnings
    from manyhands import Server, events
    from tests.support import Echo, bound, call
    warnings.simplefilter("ignore")
    threading.excepthook = lambda _: None
    engine = sys.argv[1]
    kinds = [SystemExit, KeyboardInterrupt]
    if engine == "fibers":
        from gevent import GreenletExit
        kinds.append(GreenletExit)

    def look(kind, is_draining):
        heard = []
        def leave(event):
            heard.append(event)
            raise kind
        server = Server(Echo, "tcp://127.0.0.1:0", engine=engine, drain_timeout=0.2)
        server.start()
        if not is_draining:
            unsubscribe = events.hub.subscribe(leave, events.ConnectionClosed)
        peers = [call(bound(server)) for _ in range(1 if engine == "sequential" else 4)]
        for peer in peers:
            peer.sendall(b"hello\\n")
            assert peer.recv(10) == b"hello\\n"
        if is_draining:
            unsubscribe = events.hub.subscribe(leave, events.ConnectionClosed)
        else:
            for peer in peers:
                peer.shutdown(socket.SHUT_WR)  # forked handlers have copies of this end
            assert server.wait_for_connections(at_most=len(peers) - 1, timeout=20)
        try:
            server.close()
        except BaseException:
            pass
        unsubscribe()
        accepted, still_open, closed = server.connections.balance
        assert (accepted, still_open, closed, len(heard)) == (len(peers), 0, len(peers), len(peers)), (
            kind, is_draining, server.connections, len(heard))
        try:
            raise AssertionError(os.waitpid(-1, os.WNOHANG))
        except ChildProcessError:
            pass

    for kind in kinds:
        look(kind, False)
        look(kind, True)
    print("the books balance", flush=True)
    os._exit(0)
"""


@pytest.mark.parametrize("engine", ENGINES)
def test_no_connection_is_left_open_in_the_books(engine: str) -> None:
    assert run_python(PROGRAM, engine) == "the books balance\n"


@pytest.mark.parametrize("engine", ["threads", "fibers"])
def test_the_next_client_gets_the_place_of_a_connection_whose_end_was_told(engine: str) -> None:
    def leave(event: events.Event) -> None:
        raise SystemExit

    class Narrow(server_class(engine)):  # type: ignore[misc]  # a class of the drop-in's
        max_connections = 1

    unsubscribe = events.hub.subscribe(leave, events.ConnectionClosed)
    try:
        with serving(Narrow(HERE, Echo)) as server, call(server.server_address) as first:
            first.sendall(b"first\n")
            assert first.recv(10) == b"first\n"
            with call(server.server_address) as second:
                second.sendall(b"second\n")
                first.close()
                assert second.recv(10) == b"second\n"
    finally:
        unsubscribe()
