"""The events: a closed set of frozen records with a sentence each, and the hub that hands them on."""

import dataclasses
import inspect
import pickle
import threading
from typing import Any

import pytest

from manyhands.model import events
from manyhands.model.connection_states import Reason
from manyhands.model.events import Event, Hub, RefusalSummary
from tests.support import forked, python

EXAMPLES: list[tuple[Event, str]] = [
    (
        events.EngineFull("127.0.0.1:8008", "threads", 3),
        (
            "127.0.0.1:8008 serves 3 clients, all that its threads engine may: "
            "clients that call now wait in the backlog"
        ),
    ),
    (
        events.ServerFull("127.0.0.1:8008", 3),
        (
            "127.0.0.1:8008 has 3 connections, all that max_connections allows: "
            "clients that call now wait in the backlog"
        ),
    ),
    (
        events.DatagramsFull("127.0.0.1:8008", 3),
        (
            "127.0.0.1:8008 serves 3 datagrams, all that max_datagrams allows: those that come now wait "
            "in the kernel's buffer, which drops what it cannot hold"
        ),
    ),
    (
        events.ConnectionsRefused(
            "127.0.0.1:8008",
            RefusalSummary({Reason.REFUSED_DENIED: 2}, (("192.0.2.1", 1),), 0.0, 1.25, "datagram"),
        ),
        (
            "127.0.0.1:8008 refused 2 datagrams within 1.2 s from 192.0.2.1:1: "
            "its address is not one that the server serves (allow, deny)"
        ),
    ),
    (
        events.AcceptPaused("127.0.0.1:8008", 24, "Too many open files"),
        "127.0.0.1:8008 cannot accept: Too many open files; trying again",
    ),
    (
        events.HubReached(3),
        "worker 3 has reached the hub again, and with it the other workers",
    ),
    (
        events.HubLost(3),
        ("worker 3 has lost the hub: until it is back, what is told stays in this worker"),
    ),
    (
        events.MissedFromWorkers(3, 17),
        "worker 3 has missed 17 of what other workers told: it was too slow",
    ),
    (events.AcceptResumed("127.0.0.1:8008", 1.25), "127.0.0.1:8008 accepts again after 1.2 s"),
    (
        events.BacklogRefused("127.0.0.1:8008", 7, "Too many open files"),
        "127.0.0.1:8008 closed 7 waiting clients unserved: Too many open files",
    ),
    (
        events.HandshakeFailed(("127.0.0.1", 40000), "timed out"),
        "the TLS handshake of 127.0.0.1:40000 failed: timed out",
    ),
    (
        events.BadProxyHeader(("127.0.0.1", 50000), "the peer closed the connection"),
        "no PROXY header was taken from 127.0.0.1:50000: the peer closed the connection",
    ),
    (
        events.CertificateExpires("site.pem", 1_772_366_400.0, 6.96),
        "the certificate site.pem, or its chain, expires in 7.0 days (2026-03-01 12:00 UTC)",
    ),
    (
        events.CertificateExpires("site.pem", 1_772_366_400.0, -0.5),
        "the certificate site.pem, or its chain, has expired (2026-03-01 12:00 UTC): clients refuse it",
    ),
    (events.NothingToReload("SIGHUP"), "SIGHUP came, and there is nothing to reload"),
    (events.SignalIgnored("SIGUSR2"), "SIGUSR2 came, which means nothing here"),
    (events.NoControlSocket("permission denied"), "no control socket: permission denied"),
    (
        events.StacksFollow("SIGUSR1", 2),
        "SIGUSR1 came, which asks for the stacks of 2 handlers",
    ),
    (
        events.HandlerStack(
            17, ("::1", 4711, 0, 0), "Echo", 2.04, '  File "a.py", line 1, in handle\n'
        ),
        '#17 [::1]:4711, 2.0 s old: Echo\n  File "a.py", line 1, in handle',
    ),
    (
        events.CertificateReloaded("site.pem"),
        "the certificates were reloaded (site.pem)",
    ),
    (
        events.CertificateNotReloaded("certfile 'site.pem' cannot be read: Permission denied"),
        (
            "the certificates were not reloaded, and the old ones are kept: "
            "certfile 'site.pem' cannot be read: Permission denied"
        ),
    ),
    (
        events.DatagramTruncated("127.0.0.1:8008", ("127.0.0.1", 40000), 8192),
        "127.0.0.1:8008 cut a datagram of 127.0.0.1:40000 to 8192 bytes (max_packet_size)",
    ),
    (
        events.ClientFellBehind(3, "127.0.0.1:8008", ("127.0.0.1", 40000), 262_000, True),
        "127.0.0.1:40000 does not read what is sent to it, 262000 bytes wait: its connection is closed",
    ),
    (
        events.ForkedWithThreads(3),
        "forked while 3 threads were alive: their locks stay locked in the child",
    ),
    (
        events.HandlerSpins("Report", ("127.0.0.1", 40000), 1000, "  File 'shop.py', line 3\n"),
        (
            "Report for 127.0.0.1:40000 has read 1000 times at the end of its input, and goes on "
            "(an empty read is the client's end, and no reason to try again):\n  File 'shop.py', line 3"
        ),
    ),
    (
        events.HubBlocked(
            "Report", ("127.0.0.1", 40000), 0.125, "  File 'shop.py', line 3\n", "it computes"
        ),
        (
            "Report for 127.0.0.1:40000 has held up all other fibers for 0.12 s: it computes "
            "(manyhands.blocking runs such a call in a thread; docs/drop-in.md has a table of what cannot be "
            "cured on fibers):\n  File 'shop.py', line 3"
        ),
    ),
    (
        events.HubUnblocked("Report", ("127.0.0.1", 40000), 2.5),
        "Report for 127.0.0.1:40000 lets others run again, after 2.50 s",
    ),
    (
        events.WorkerDied(2, 4711, 1, "by SIGKILL", 3, 1),
        "worker 2 (process 4711) has ended, by SIGKILL: 3 connections ended with it",
    ),
    (
        events.WorkerHung(1, 4712, 31.2, "Thread 0x1 (most recent call first):\n"),
        (
            "worker 1 (process 4712) has not turned for 31 s: it is ended now:\n"
            "Thread 0x1 (most recent call first):"
        ),
    ),
    (
        events.WorkerCutOff(2, 4713, 1, 1, "#7 127.0.0.1:4711, 3.0 s old: handle, shop.py:7"),
        (
            "worker 2 (process 4713) has left, and cut off 1 connection:\n"
            "#7 127.0.0.1:4711, 3.0 s old: handle, shop.py:7"
        ),
    ),
    (events.Reloaded(2, 4), "reloaded: generation 2 serves, with 4 workers"),
    (
        events.NotReloaded(3, "shop.py cannot be imported"),
        "not reloaded, the old workers go on: shop.py cannot be imported",
    ),
    (
        events.Upgraded("1.2", "3.14.1", 5),
        "upgraded: manyhands 1.2 on Python 3.14.1 has taken over, with 5 open connections",
    ),
    (
        events.NotUpgraded("shop cannot be imported"),
        "not upgraded, the old program goes on: shop cannot be imported",
    ),
    (
        events.ProgramChanged(1, ("shop.py",)),
        "shop.py has changed: the program is loaded anew",
    ),
    (
        events.ProgramChanged(4, ("shop.py", "till.py")),
        "shop.py, till.py and 2 other files have changed: the program is loaded anew",
    ),
    (
        events.WorkersNotForked(2),
        (
            "the program has 2 threads once it is imported, so each worker imports it by itself: a fork "
            "would copy the locks that they hold"
        ),
    ),
    (
        events.Draining(1, 30.0),
        "stopping: waits up to 30 s for 1 conversation to come to an end",
    ),
    (
        events.Draining(2, 0.5),
        "stopping: waits up to 0.5 s for 2 conversations to come to an end",
    ),
    (events.EventsDropped(1), "1 event was dropped here: what is told of them is too slow"),
    (events.EventsDropped(7), "7 events were dropped here: what is told of them is too slow"),
    (
        events.LinesLost(1, "No space left on device"),
        "1 line was lost here: standard error could not be written (No space left on device)",
    ),
    (
        events.LinesLost(7, "Broken pipe"),
        "7 lines were lost here: standard error could not be written (Broken pipe)",
    ),
    (
        events.RepeatedEvents("HandshakeFailed", 7, (("127.0.0.1", 40000),), 10.0),
        "HandshakeFailed, 7 times more within 10.0 s, from 127.0.0.1:40000",
    ),
    (
        events.RepeatedEvents("ValueError in a request at shop.py:3", 1, (), 10.0),
        "ValueError in a request at shop.py:3, once more within 10.0 s",
    ),
    (
        events.ConnectionLost(
            "127.0.0.1:8008", ("127.0.0.1", 40000), "peer_reset", "BrokenPipeError"
        ),
        (
            "the connection of 127.0.0.1:40000 on 127.0.0.1:8008 ended under its handler: "
            "peer_reset (BrokenPipeError)"
        ),
    ),
    (
        events.ConnectionClosed(
            17, "127.0.0.1:8008", ("127.0.0.1", 40000), "peer_closed", 1.5, 120, 64
        ),
        ("#17 127.0.0.1:40000 on 127.0.0.1:8008: peer_closed, 120 bytes in, 64 bytes out, 1.500 s"),
    ),
    (
        events.ConnectionClosed(18, "/run/echo.sock", "", "handler_failed", 0.25, None, None),
        "#18 an unnamed Unix socket on /run/echo.sock: handler_failed, 0.250 s",
    ),
    (
        events.WorkerFailed("threads", ("127.0.0.1", 40000), "can't start new thread"),
        (
            "no worker of the threads engine could be had for 127.0.0.1:40000: "
            "can't start new thread"
        ),
    ),
]


def every_event() -> set[type[Event]]:
    kinds = {value for value in vars(events).values() if inspect.isclass(value)}
    return {kind for kind in kinds if issubclass(kind, Event)} - {Event}


def test_every_event_has_an_example_here() -> None:
    assert {type(event) for event, _ in EXAMPLES} == every_event() == set(events.kinds())


@pytest.mark.parametrize("kind", events.kinds())
def test_the_level_of_an_event_is_one_of_three(kind: type[Event]) -> None:
    assert kind.level in {"info", "warning", "error"}


@pytest.mark.parametrize(("event", "sentence"), EXAMPLES)
def test_the_text_of_an_event_is_a_sentence(event: Event, sentence: str) -> None:
    assert str(event) == sentence


@pytest.mark.parametrize(("event", "sentence"), EXAMPLES)
def test_an_event_cannot_be_changed(event: Any, sentence: str) -> None:
    field = dataclasses.fields(event)[0].name
    with pytest.raises(dataclasses.FrozenInstanceError):
        setattr(event, field, None)


EVENT = events.ForkedWithThreads(2)


def test_every_subscriber_gets_every_event_in_order() -> None:
    hub, first, second = Hub(), [], []
    hub.subscribe(first.append, Event)
    hub.subscribe(second.append, Event)
    for event, _ in EXAMPLES:
        hub.emit(event)
    assert first == second == [event for event, _ in EXAMPLES]


CLOSED = events.ConnectionClosed(1, "127.0.0.1:8008", ("127.0.0.1", 40000), "idle", 1.0, 0, 0)


def test_only_subscribers_that_name_it_get_the_ends_of_connections() -> None:
    hub, usual, asking = Hub(), [], []
    hub.subscribe(usual.append)
    assert not hub.hears_of_ends
    end = hub.subscribe(asking.append, events.ConnectionClosed)
    assert hub.hears_of_ends
    hub.emit(CLOSED)
    hub.emit(EVENT)
    assert (usual, asking) == ([EVENT], [CLOSED])
    end()
    assert not hub.hears_of_ends


def test_a_program_without_a_subscriber_never_loads_the_events() -> None:
    finished = python(
        "-c",
        "import sys\n"
        "from manyhands import socketserver\n"
        "print({'manyhands.model.events', 'dataclasses', 'pathlib'} & set(sys.modules))\n",
    )
    assert finished.stdout == "set()\n", finished.stderr


def test_the_hub_says_whether_there_is_a_subscriber() -> None:
    hub = Hub()
    assert not hub.has_subscribers
    end = hub.subscribe(print)
    assert hub.has_subscribers
    end()
    assert not hub.has_subscribers


def test_a_subscription_ends_when_asked_once_or_more() -> None:
    hub, seen = Hub(), []
    unsubscribe = hub.subscribe(seen.append)
    hub.emit(EVENT)
    unsubscribe()
    unsubscribe()
    hub.emit(EVENT)
    assert seen == [EVENT]


def test_two_subscriptions_of_one_function_end_one_by_one() -> None:
    hub, seen = Hub(), []

    def subscriber(event: Event) -> None:
        seen.append(event)

    end = hub.subscribe(subscriber)
    hub.subscribe(subscriber)
    end()
    hub.emit(EVENT)
    assert seen == [EVENT]


def test_a_subscriber_that_raises_stops_no_other_and_is_reported() -> None:
    # In an interpreter of its own: pytest puts other hooks for exceptions in place.
    finished = python(
        "-c",
        "from manyhands import events\n"
        "def broken(event):\n"
        "    raise ZeroDivisionError('in a subscriber')\n"
        "events.hub.subscribe(broken)\n"
        "events.hub.subscribe(print)\n"
        "events.hub.emit(events.ForkedWithThreads(2))\n"
        "print('the server goes on')\n",
    )
    assert finished.stdout.splitlines() == [str(EVENT), "the server goes on"]
    assert "ZeroDivisionError: in a subscriber" in finished.stderr


def test_a_subscriber_may_end_its_subscription_when_called() -> None:
    hub, seen = Hub(), []

    def once(event: Event) -> None:
        seen.append(event)
        end()

    end = hub.subscribe(once)
    hub.emit(EVENT)
    hub.emit(EVENT)
    assert seen == [EVENT]


def test_events_are_handed_on_in_the_thread_in_which_they_happen() -> None:
    hub, threads = Hub(), []
    hub.subscribe(lambda _: threads.append(threading.current_thread()))
    thread = threading.Thread(target=hub.emit, args=(EVENT,))
    thread.start()
    thread.join()
    assert threads == [thread]


def test_subscriptions_of_many_threads_are_all_kept() -> None:
    hub = Hub()
    seen: list[Event] = []
    threads = [threading.Thread(target=hub.subscribe, args=(seen.append,)) for _ in range(50)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    hub.emit(EVENT)
    assert len(seen) == 50


@pytest.mark.filterwarnings("ignore:.*fork")
def test_a_copy_of_the_process_can_subscribe_whatever_another_thread_was_doing() -> None:
    held, release = threading.Event(), threading.Event()

    def hold() -> None:
        with events.hub._lock:
            held.set()
            release.wait(20)

    holder = threading.Thread(target=hold)
    holder.start()
    held.wait(20)

    def subscribe() -> bool:
        seen: list[Event] = []
        events.hub.subscribe(seen.append)
        events.hub.emit(EVENT)
        return seen == [EVENT]

    with forked(subscribe) as wait:
        assert wait() == 0
    release.set()
    holder.join()


@pytest.mark.parametrize(
    "event", [event for event, _ in EXAMPLES], ids=lambda event: type(event).__name__
)
def test_a_handler_s_process_can_hand_it_to_that_of_its_server(event: Event) -> None:
    assert pickle.loads(pickle.dumps(event)) == event
