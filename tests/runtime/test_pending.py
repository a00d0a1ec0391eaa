"""What comes later: it is waited for, with patience, or a function is called with it."""

import threading

from manyhands.runtime.pending import Pending
from tests.support.waiting import PATIENCE


class Patient:
    """Waits so long."""

    def __init__(self, seconds: float = PATIENCE) -> None:
        self.seconds = seconds
        self.times_in_vain = 0

    def seconds_left(self) -> float:
        return self.seconds

    def ran_out(self) -> None:
        self.times_in_vain += 1


def test_a_result_is_waited_for() -> None:
    pending = Pending(0, Patient())
    assert not pending.has_come
    thread = threading.Thread(target=pending.give, args=(7,))
    thread.start()
    assert pending.wait() == 7
    assert pending.has_come
    thread.join()


def test_the_first_result_counts() -> None:
    pending = Pending(0, Patient())
    pending.give(1)
    pending.give(2)
    assert pending.wait() == pending.result == 1


def test_without_a_result_it_is_what_it_is_otherwise() -> None:
    patience = Patient(0.0)
    pending = Pending(5, patience)
    assert pending.wait() == 5
    assert patience.times_in_vain == 1
    pending.give(6)
    assert pending.wait() == 6
    assert patience.times_in_vain == 1


def test_one_without_patience_is_there() -> None:
    assert Pending(3).wait() == 3
    assert Pending(3).has_come


def test_a_function_is_called_with_the_result_once_and_at_once_where_it_is_there() -> None:
    came: list[str] = []
    pending = Pending("", Patient())
    pending.then(lambda result: came.append(f"before {result}"))
    assert not came
    pending.give("it")
    pending.give("no more")
    pending.then(lambda result: came.append(f"after {result}"))
    assert came == ["before it", "after it"]
