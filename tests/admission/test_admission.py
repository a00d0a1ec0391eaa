"""Which connections are admitted."""

import os
import threading

import pytest

from manyhands.admission.admission import Admission, Limits, Place
from manyhands.model.connection_states import Reason
from manyhands.model.networks import Networks

HERE, THERE = ("192.0.2.1", 50000), ("192.0.2.2", 50000)
UNIX = ""


def admitted(admission: Admission, client_address: object = HERE, now: float = 0.0) -> Place:
    place = admission.admit(client_address, now)
    assert isinstance(place, Place), place
    return place


def let_in(
    admission: Admission, tries: int, client_address: object = HERE, now: float = 0.0
) -> int:
    return sum(isinstance(admission.admit(client_address, now), Place) for _ in range(tries))


def open_in(admission: Admission) -> int:
    return len(admission._places)


def test_without_limits_every_connection_is_admitted_and_counted() -> None:
    admission = Admission()
    assert let_in(admission, 1000) == 1000
    assert open_in(admission) == 1000


def test_datagrams_are_admitted_by_address_and_rate_and_take_no_place() -> None:
    limits = Limits(
        max_connections_per_ip=1,
        max_rate=1,
        rate_burst=3,
        max_rate_per_ip=1,
        rate_burst_per_ip=2,
        deny=Networks.parse("192.0.2.9"),
    )
    admission = Admission(limits)
    admitted(admission)
    assert [admission.admit_datagram(HERE, 0.0) for _ in range(2)] == [
        None,
        Reason.REFUSED_TOO_FAST,
    ]
    # What one address was refused took nothing from the others.
    assert admission.admit_datagram(THERE, 0.0) is None
    assert admission.admit_datagram(THERE, 0.0) is Reason.REFUSED_TOO_FAST
    assert admission.admit_datagram(("192.0.2.9", 1), 0.0) is Reason.REFUSED_DENIED
    assert admission.admit_datagram(UNIX, 1.0) is None
    assert open_in(admission) == 1


def test_a_place_that_is_left_twice_is_given_back_once() -> None:
    admission = Admission(Limits(max_connections_per_ip=2))
    place = admitted(admission)
    admitted(admission)
    for _ in range(100):
        place.leave()
    assert open_in(admission) == 1
    assert len(admission._left) == 1
    assert let_in(admission, 5) == 1


def test_of_n_places_for_an_address_n_are_given() -> None:
    admission = Admission(Limits(max_connections_per_ip=2))
    place = admitted(admission)
    admitted(admission, ("::ffff:192.0.2.1", 1, 0, 0))
    assert admission.admit(HERE, 0.0) is Reason.REFUSED_FULL_FOR_ADDRESS
    admitted(admission, THERE)
    place.leave()
    admitted(admission)
    assert admission.admit(HERE, 0.0) is Reason.REFUSED_FULL_FOR_ADDRESS


def test_a_network_of_ipv6_is_one_address() -> None:
    admission = Admission(Limits(max_connections_per_ip=1))
    admitted(admission, ("2001:db8::1", 1, 0, 0))
    neighbour = ("2001:db8::2", 1, 0, 0)
    assert admission.admit(neighbour, 0.0) is Reason.REFUSED_FULL_FOR_ADDRESS
    admitted(admission, ("2001:db8:0:1::1", 1, 0, 0))


def test_no_limit_per_address_concerns_a_unix_socket() -> None:
    limits = Limits(max_connections_per_ip=1, max_rate_per_ip=1.0)
    admission = Admission(limits._replace(allow=Networks.parse("10.0.0.0/8")))
    assert let_in(admission, 20, UNIX) == 20


def test_the_rate_of_the_server_is_kept() -> None:
    admission = Admission(Limits(max_rate=2.0, rate_burst=5))
    assert let_in(admission, 20, now=0.0) == 5
    assert admission.admit(THERE, 0.0) is Reason.REFUSED_TOO_FAST
    assert let_in(admission, 20, now=1.0) == 2


def test_the_rate_of_an_address_is_kept() -> None:
    admission = Admission(Limits(max_rate_per_ip=2.0, rate_burst_per_ip=5))
    assert let_in(admission, 20, HERE, now=0.0) == 5
    assert admission.admit(HERE, 0.0) is Reason.REFUSED_TOO_FAST
    assert let_in(admission, 20, THERE, now=0.0) == 5
    assert let_in(admission, 20, HERE, now=1.0) == 2


def test_deny_is_looked_at_before_all_else() -> None:
    admission = Admission(Limits(max_connections_per_ip=1))
    admitted(admission, THERE)
    admission.limits = admission.limits._replace(deny=Networks.parse("192.0.2.2"))
    assert admission.admit(THERE, 0.0) is Reason.REFUSED_DENIED


@pytest.mark.parametrize(
    ("limits", "reason"),
    [
        (Limits(deny=Networks.parse("192.0.2.2")), Reason.REFUSED_DENIED),
        (Limits(allow=Networks.parse("192.0.2.1")), Reason.REFUSED_DENIED),
        (Limits(max_connections_per_ip=1), Reason.REFUSED_FULL_FOR_ADDRESS),
        (Limits(max_rate_per_ip=1.0, rate_burst_per_ip=1), Reason.REFUSED_TOO_FAST),
    ],
)
def test_a_refused_connection_takes_nothing_of_the_rate_of_the_server(
    limits: Limits, reason: Reason
) -> None:
    admission = Admission(limits._replace(max_rate=0.001, rate_burst=10))
    tokens = 10
    if reason is not Reason.REFUSED_DENIED:
        admitted(admission, THERE)
        tokens = 9
    assert {admission.admit(THERE, 0.0) for _ in range(50)} == {reason}
    admission.limits = Limits(max_rate=0.001, rate_burst=10)
    assert let_in(admission, 50) == tokens


def test_a_refusal_for_the_rate_of_the_server_takes_nothing_of_the_rate_of_the_address() -> None:
    admission = Admission(
        Limits(max_rate=1.0, rate_burst=1, max_rate_per_ip=0.001, rate_burst_per_ip=3)
    )
    assert let_in(admission, 50, now=0.0) == 1
    assert [let_in(admission, 50, now=float(now)) for now in range(1, 5)] == [1, 1, 0, 0]


class TestLimitsThatChange:
    def test_a_lower_limit_closes_no_connection_and_holds_for_the_next(self) -> None:
        admission = Admission(Limits(max_connections_per_ip=5))
        places = [admitted(admission) for _ in range(5)]
        admission.limits = Limits(max_connections_per_ip=2)
        assert open_in(admission) == 5
        for place in places[:3]:
            assert admission.admit(HERE, 0.0) is Reason.REFUSED_FULL_FOR_ADDRESS
            place.leave()
        assert admission.admit(HERE, 0.0) is Reason.REFUSED_FULL_FOR_ADDRESS
        places[3].leave()
        assert let_in(admission, 5) == 1

    def test_a_higher_limit_makes_room(self) -> None:
        admission = Admission(Limits(max_connections_per_ip=1))
        admitted(admission)
        admission.limits = Limits(max_connections_per_ip=3)
        assert let_in(admission, 5) == 2

    def test_a_limit_per_address_counts_connections_from_before_it(self) -> None:
        admission = Admission()
        places = [admitted(admission) for _ in range(5)]
        admission.limits = Limits(max_connections_per_ip=3)
        assert admission.admit(HERE, 0.0) is Reason.REFUSED_FULL_FOR_ADDRESS
        for place in places[:3]:
            place.leave()
        assert let_in(admission, 5) == 1

    @pytest.mark.parametrize("change", ["before", "after"])
    def test_another_prefix_counts_every_connection_again(self, change: str) -> None:
        admission = Admission(Limits(max_connections_per_ip=3))
        network = [(f"2001:db8:0:{number}::1", 1, 0, 0) for number in range(3)]
        places = [admitted(admission, address) for address in network]
        if change == "after":
            places[0].leave()
        admission.limits = Limits(max_connections_per_ip=3, ipv6_prefix=48)
        if change == "before":
            assert let_in(admission, 5, network[0]) == 0
            places[0].leave()
        assert let_in(admission, 5, network[0]) == 1
        admission.limits = Limits(max_connections_per_ip=3, ipv6_prefix=64)
        assert let_in(admission, 5, network[1]) == 2

    def test_another_prefix_has_the_rates_of_addresses_begin_anew(self) -> None:
        limits = Limits(max_rate_per_ip=0.001, rate_burst_per_ip=3)
        admission = Admission(limits)
        assert let_in(admission, 5) == 3
        admission.limits = limits._replace(ipv6_prefix=48)
        assert let_in(admission, 5) == 3

    def test_a_connection_that_leaves_while_the_prefix_changes_is_uncounted_once(self) -> None:
        admission = Admission(Limits(max_connections_per_ip=2))
        first, second = admitted(admission), admitted(admission)
        first.leave()
        admission.limits = Limits(max_connections_per_ip=2, ipv6_prefix=48)
        assert let_in(admission, 5) == 1
        second.leave()
        assert let_in(admission, 5) == 1

    def test_rates_begin_full_and_go_on_as_they_are(self) -> None:
        admission = Admission()
        let_in(admission, 100)
        admission.limits = Limits(
            max_rate=1.0, rate_burst=10, max_rate_per_ip=1.0, rate_burst_per_ip=5
        )
        assert let_in(admission, 20) == 5
        admission.limits = admission.limits._replace(max_connections_per_ip=1000)
        assert let_in(admission, 20) == 0
        assert let_in(admission, 20, THERE) == 5
        admission.limits = admission.limits._replace(max_rate=2.0, max_rate_per_ip=4.0)
        assert let_in(admission, 20, now=1.0) == 1
        assert let_in(admission, 20, now=1.5) == 1
        admission.limits = Limits()
        assert let_in(admission, 20, now=1.0) == 20

    def test_networks_hold_from_the_next_connection_on(self) -> None:
        admission = Admission()
        admitted(admission)
        admission.limits = Limits(allow=Networks.parse("10.0.0.0/8"))
        assert admission.admit(HERE, 0.0) is Reason.REFUSED_DENIED


class TestAnAddressThatIsAnnouncedLater:
    LIMITS = Limits(
        max_connections_per_ip=2,
        max_rate_per_ip=0.001,
        rate_burst_per_ip=3,
        deny=Networks.parse("10.0.0.0/8"),
    )

    def test_it_is_counted_from_then_on(self) -> None:
        admission = Admission(self.LIMITS)
        places = [admitted(admission, None) for _ in range(4)]
        assert [place.identify(HERE, 0.0) for place in places] == [
            None,
            None,
            Reason.REFUSED_FULL_FOR_ADDRESS,
            Reason.REFUSED_FULL_FOR_ADDRESS,
        ]
        assert open_in(admission) == 4
        for place in places:
            place.leave()
        assert open_in(admission) == 0
        assert let_in(admission, 5) == 1

    def test_all_rules_for_addresses_concern_it(self) -> None:
        admission = Admission(self.LIMITS)
        assert admitted(admission, None).identify(("10.1.2.3", 1), 0.0) is Reason.REFUSED_DENIED
        reasons = []
        for _ in range(4):
            place = admitted(admission, None)
            reasons.append(place.identify(HERE, 0.0))
            place.leave()
        assert reasons == [None, None, None, Reason.REFUSED_TOO_FAST]

    def test_one_that_was_counted_and_is_refused_now_is_counted_no_longer(self) -> None:
        admission = Admission(self.LIMITS._replace(max_rate_per_ip=None))
        assert let_in(admission, 5, THERE) == 2
        place = admitted(admission, HERE)
        assert place.identify(THERE, 0.0) is Reason.REFUSED_FULL_FOR_ADDRESS
        admitted(admission, HERE)
        place.leave()
        assert let_in(admission, 5, HERE) == 1
        assert open_in(admission) == 4

    def test_a_connection_that_has_left_already_is_not_counted(self) -> None:
        admission = Admission(self.LIMITS)
        place = admitted(admission, None)
        place.leave()
        assert place.identify(HERE, 0.0) is None
        assert let_in(admission, 5) == 2

    def test_one_that_was_counted_is_counted_for_its_new_address_alone(self) -> None:
        admission = Admission(self.LIMITS._replace(max_rate_per_ip=None))
        place = admitted(admission, HERE)
        assert place.identify(THERE, 0.0) is None
        assert let_in(admission, 5, HERE) == 2
        assert let_in(admission, 5, THERE) == 1
        place.leave()
        assert let_in(admission, 5, THERE) == 1


def test_only_addresses_with_open_connections_take_memory() -> None:
    admission = Admission(Limits(max_connections_per_ip=5))
    for number in range(10_000):
        place = admitted(admission, (f"10.0.{number >> 8}.{number & 255}", 1))
        place.leave()
    assert len(admission._counts) <= 1
    assert len(admission._left) <= 1


def test_a_connection_may_leave_while_another_is_being_admitted_in_the_same_thread() -> None:
    admission = Admission(Limits(max_connections_per_ip=2))
    place = admitted(admission)
    with admission._lock:  # as in a finalizer, or a signal handler, that runs inside admit
        place.leave()
        assert open_in(admission) == 0
        admission.limits = Limits(max_connections_per_ip=1)
    assert let_in(admission, 5) == 1


def test_a_forked_copy_begins_anew_even_when_a_thread_was_just_admitting() -> None:
    admission = Admission(Limits(max_connections_per_ip=2))
    place = admitted(admission)
    admission._lock.acquire()
    child = os.fork()
    if not child:
        place.leave()
        os._exit(10 * open_in(admission) + let_in(admission, 5))
    admission._lock.release()
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 2
    assert open_in(admission) == 1


class Storm:
    """Threads that come and go as fast as they can, and count for themselves."""

    def __init__(self, admission: Admission, most: int) -> None:
        self.admission = admission
        self.most = most
        self.inside = 0
        self.excess: list[int] = []
        self.refused: list[Reason] = []
        self._lock = threading.Lock()

    def blow(self) -> None:
        held: list[Place] = []
        for _ in range(2000):
            place = self.admission.admit(HERE, 0.0)
            if isinstance(place, Place):
                # Counted after it is in and until it leaves: never too many by mistake.
                self.count(+1)
                held.append(place)
            else:
                self.refused.append(place)
                self.let_go(held)
        self.let_go(held)

    def let_go(self, held: list[Place]) -> None:
        while held:
            self.count(-1)
            held.pop().leave()

    def count(self, step: int) -> None:
        with self._lock:
            self.inside += step
            if self.inside > self.most:
                self.excess.append(self.inside)

    def run(self, threads: int = 8) -> None:
        workers = [threading.Thread(target=self.blow) for _ in range(threads)]
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join()


def test_in_a_storm_never_more_than_n_are_in_and_at_its_end_none(often_switching: None) -> None:
    storm = Storm(Admission(Limits(max_connections_per_ip=3)), most=3)
    storm.run()
    assert storm.excess == []
    assert storm.refused
    assert open_in(storm.admission) == 0
    assert let_in(storm.admission, 5) == 3
    assert len(storm.admission._counts) == 1


def test_in_a_storm_limits_may_change_and_the_counts_stay_right(often_switching: None) -> None:
    storm = Storm(Admission(Limits(max_connections_per_ip=3)), most=3)
    is_over = threading.Event()

    def change() -> None:
        while not is_over.is_set():
            for prefix in (48, 64):
                storm.admission.limits = Limits(max_connections_per_ip=3, ipv6_prefix=prefix)

    changer = threading.Thread(target=change)
    changer.start()
    try:
        storm.run(threads=4)
    finally:
        is_over.set()
        changer.join()
    assert storm.excess == []
    assert open_in(storm.admission) == 0
    assert let_in(storm.admission, 5) == 3
    assert len(storm.admission._counts) == 1
