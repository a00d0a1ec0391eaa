"""What asks workers waits for none which has ended, and keeps nothing of it. The workers are the test's."""

import json
import socket
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

import pytest

from manyhands.control import fleet_asker, worker_channel
from manyhands.control.fleet import Done, WorkerSeen
from manyhands.control.fleet_asker import FleetAsker
from manyhands.control.fleet_process import FleetProcess
from manyhands.control.later import Later
from manyhands.control.messages import Refusal
from manyhands.control.recent_traffic import RecentTraffic
from manyhands.testing import everything
from tests.support import open_descriptors, wait_for_descriptors, wait_until
from tests.support.waiting import PATIENCE

from .test_fleet_sums import told


class Seen(NamedTuple):
    """A worker whose process is none."""

    number: int
    pid: int = 1
    generation: int = 1
    state: str = "serving"
    open: int = 0
    begun: int = 0
    began_at: float = 0.0
    restarts: int = 0


class Fleet:
    """Workers whose ends of their connections are the test's."""

    def __init__(self, *seen: Seen) -> None:
        self.seen = list(seen)
        self.ends: dict[int, socket.socket] = {}
        self.are_connected = True
        self.recall: Callable[[bool], object]
        self.given_back: list[tuple[int, socket.socket | None]] = []

    def workers(self) -> Sequence[WorkerSeen]:
        return self.seen

    def control_of(self, worker: WorkerSeen) -> socket.socket | None:
        if not self.are_connected:
            return None
        if self.given_back:
            return self.given_back.pop()[1]
        ours, self.ends[worker.number] = socket.socketpair()
        self.ends[worker.number].settimeout(PATIENCE)
        return ours

    def give_back(self, worker: WorkerSeen, control: socket.socket | None) -> None:
        self.given_back.append((worker.number, control))

    def when_recalled(self, act: Callable[[bool], object]) -> None:
        self.recall = act

    def adjust(self, values: Mapping[str, object]) -> None:
        raise NotImplementedError

    def upgrade(self, done: Done) -> None:
        raise NotImplementedError

    def worker_of(self, place: int) -> WorkerSeen | None:
        raise NotImplementedError

    def generation(self) -> int:
        return 1

    def reload(self, done: Done) -> None:
        raise NotImplementedError

    def restart(self, number: int | None, done: Done) -> None:
        raise NotImplementedError

    def scale(self, count: int, done: Done) -> None:
        raise NotImplementedError

    def asked(self, number: int) -> dict[str, Any]:
        """Return the next request that a worker gets."""
        line = b""
        while not line.endswith(b"\n"):
            data = self.ends[number].recv(1)
            assert data
            line += data
        request: dict[str, Any] = json.loads(line)
        return request

    def answer(self, number: int, request: dict[str, Any], result: object) -> None:
        message = {"jsonrpc": "2.0", "id": request["id"], "result": result}
        self.ends[number].sendall(json.dumps(message).encode() + b"\n")


@contextmanager
def asking(fleet: Fleet) -> Iterator[FleetAsker]:
    with FleetAsker(fleet) as asker:
        yield asker
    for end in fleet.ends.values():
        end.close()


def ask_all(asker: FleetAsker) -> Later:
    return asker.gather("status", asker.everyone, lambda answers: answers)


def given(later: Later) -> Any:
    wait_until(lambda: later.is_there)
    return later.given


@pytest.fixture
def no_limits(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have only what happens end a wait."""
    monkeypatch.setattr(fleet_asker.FleetAsker.gather, "__defaults__", (1000.0,))


@pytest.mark.usefixtures("no_limits")
def test_no_answer_is_awaited_of_a_worker_that_has_ended() -> None:
    fleet = Fleet(Seen(1), Seen(2))
    with asking(fleet) as asker:
        later = ask_all(asker)
        wait_until(lambda: len(fleet.ends) == 2)
        fleet.answer(2, fleet.asked(2), "here")
        fleet.asked(1)
        fleet.ends[1].close()
        answers = given(later)
        assert answers.missing == [1]
        assert answers.results == [(Seen(2), "here")]
        # Nor of it ever after.
        later = ask_all(asker)
        fleet.answer(2, fleet.asked(2), "here")
        assert given(later).missing == [1]


@pytest.mark.usefixtures("no_limits")
def test_what_is_no_message_ends_a_worker_s_connection_alone(
    capsys: pytest.CaptureFixture[str],
) -> None:
    fleet = Fleet(Seen(1), Seen(2))
    with asking(fleet) as asker:
        later = ask_all(asker)
        wait_until(lambda: len(fleet.ends) == 2)
        fleet.answer(2, fleet.asked(2), "here")
        fleet.ends[1].sendall(b"nonsense\n")
        assert given(later).missing == [1]
        everything(fleet.ends[1])
    assert "JSONDecodeError" in capsys.readouterr().err


def test_a_late_answer_is_that_to_no_other_request(monkeypatch: pytest.MonkeyPatch) -> None:
    fleet = Fleet(Seen(1))
    with asking(fleet) as asker:
        monkeypatch.setattr(fleet_asker.FleetAsker.gather, "__defaults__", (0.01,))
        late = ask_all(asker)
        assert given(late).missing == [1]
        monkeypatch.setattr(fleet_asker.FleetAsker.gather, "__defaults__", (1000.0,))
        later = ask_all(asker)
        first, second = fleet.asked(1), fleet.asked(1)
        fleet.answer(1, first, "late")
        fleet.answer(1, second, "in time")
        assert given(later).results == [(Seen(1), "in time")]


@pytest.mark.usefixtures("no_limits")
def test_a_worker_that_answers_nothing_is_asked_no_more(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(worker_channel, "MOST_UNANSWERED", 3)
    fleet = Fleet(Seen(1))
    with asking(fleet) as asker:
        asked = [ask_all(asker) for _ in range(4)]
        assert given(asked[3]).missing == [1]
        fleet.answer(1, fleet.asked(1), "here")
        assert given(asked[0]).results == [(Seen(1), "here")]
        assert not asked[1].is_there


def test_an_answer_that_cannot_be_made_is_an_error_and_the_next_is_made(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with asking(Fleet()) as asker:
        failed = given(asker.gather("status", asker.everyone, lambda answers: 1 / 0))
        assert isinstance(failed, Refusal)
        assert "ZeroDivisionError" in str(failed)
        assert given(ask_all(asker)).missing == []
    assert "ZeroDivisionError" in capsys.readouterr().err


def test_nothing_is_kept_of_a_worker_that_is_there_no_more() -> None:
    before = open_descriptors()
    fleet = Fleet(Seen(1))
    with asking(fleet) as asker:
        later = ask_all(asker)
        wait_until(lambda: 1 in fleet.ends)
        fleet.answer(1, fleet.asked(1), told(bytes_in=5))
        [(worker, status)] = given(later).results
        asker.note(worker, status)
        assert (len(asker.latest), len(asker.totals)) == (1, 1)
        fleet.seen = []
        assert given(ask_all(asker)) == ([], [], [])
        assert (len(asker.latest), len(asker.totals)) == (0, 0)
        assert asker.totals.sums().figures["bytes_in"] == 5
        assert everything(fleet.ends[1]) == b""
    wait_for_descriptors(before)


def test_a_worker_that_has_just_begun_is_not_missing_yet() -> None:
    now = time.monotonic()
    fleet = Fleet(Seen(1, began_at=now), Seen(2, began_at=now - 60), Seen(3, state="starting"))
    fleet.are_connected = False
    with asking(fleet) as asker:
        process = FleetProcess("serve shop:Echo", 0.0, RecentTraffic(), list, asker)
        assert process.status(may_write=True)["missing"] == [2]


@pytest.mark.usefixtures("no_limits")
def test_a_connection_is_given_back_between_two_messages_and_goes_on_later() -> None:
    fleet = Fleet(Seen(1))
    with asking(fleet) as asker:
        began = asker.begin_watch(["stats"], lambda answers: answers.results)
        wait_until(lambda: 1 in fleet.ends)
        for verb in ("watch", "status"):
            request = fleet.asked(1)
            assert request["method"] == verb
            fleet.answer(1, request, verb)
        assert given(began) == [(Seen(1), "status")]
        fleet.recall(True)
        # Nothing is to come of itself any more, and what has begun is awaited to its end.
        last = fleet.asked(1)
        assert (last["method"], last["params"]["what"]) == ("watch", [])
        half = json.dumps({"jsonrpc": "2.0", "id": last["id"], "result": "off"}).encode()
        fleet.ends[1].sendall(half[:9])
        assert given(ask_all(asker)).missing == [1]
        assert fleet.given_back == []
        fleet.ends[1].sendall(half[9:] + b"\n")
        wait_until(lambda: [number for number, _ in fleet.given_back] == [1])
        assert given(ask_all(asker)).missing == [1]
        fleet.recall(False)
        later = ask_all(asker)
        requests = {each["method"]: each for each in (fleet.asked(1), fleet.asked(1))}
        assert set(requests) == {"watch", "status"}
        fleet.answer(1, requests["status"], "here")
        assert given(later).results == [(Seen(1), "here")]


@pytest.mark.usefixtures("no_limits")
def test_of_one_that_has_broken_it_is_told() -> None:
    fleet = Fleet(Seen(1))
    with asking(fleet) as asker:
        later = ask_all(asker)
        wait_until(lambda: 1 in fleet.ends)
        fleet.ends[1].close()
        assert given(later).missing == [1]
        fleet.recall(True)
        wait_until(lambda: (1, None) in fleet.given_back)
