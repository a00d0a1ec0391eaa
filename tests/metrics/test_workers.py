"""The figures of a supervisor and of its workers on one page: rules, without a process."""

from collections.abc import Mapping

from manyhands.metrics.workers import WorkerFigures

OWN = """\
# HELP manyhands_connections_accepted_total Connections that were accepted
# TYPE manyhands_connections_accepted_total counter
manyhands_connections_accepted_total 9.0
# HELP manyhands_received_bytes_total Bytes
# TYPE manyhands_received_bytes_total counter
manyhands_received_bytes_total 0.0
# HELP manyhands_datagrams_lost_total Datagrams
# TYPE manyhands_datagrams_lost_total counter
"""


def worker(received: int = 10, late: float = 0.5, lost: int = 0, expiry: float = 5.0) -> str:
    return f"""\
# HELP manyhands_connections_accepted_total Connections that were accepted
# TYPE manyhands_connections_accepted_total counter
manyhands_connections_accepted_total 4.0
# HELP manyhands_received_bytes_total Bytes
# TYPE manyhands_received_bytes_total counter
manyhands_received_bytes_total {received}
# HELP manyhands_handler_seconds Seconds
# TYPE manyhands_handler_seconds histogram
manyhands_handler_seconds_bucket{{le="1.0"}} 2.0
manyhands_handler_seconds_bucket{{le="+Inf"}} 3.0
manyhands_handler_seconds_count 3.0
manyhands_handler_seconds_sum 7.5
# HELP manyhands_rooms Rooms
# TYPE manyhands_rooms gauge
manyhands_rooms 2.0
# HELP manyhands_hub_delay_seconds Seconds
# TYPE manyhands_hub_delay_seconds gauge
manyhands_hub_delay_seconds {late}
# HELP manyhands_engine_running Tasks
# TYPE manyhands_engine_running gauge
manyhands_engine_running{{engine="fibers"}} 3.0
# HELP manyhands_datagrams_lost_total Datagrams
# TYPE manyhands_datagrams_lost_total counter
manyhands_datagrams_lost_total{{listener="127.0.0.1:53"}} {lost}
# HELP manyhands_certificate_not_after_seconds Expiry
# TYPE manyhands_certificate_not_after_seconds gauge
manyhands_certificate_not_after_seconds{{certfile="cert.pem"}} {expiry}
# HELP process_cpu_seconds_total Seconds
# TYPE process_cpu_seconds_total counter
process_cpu_seconds_total 1.5
"""


def read(page: str) -> Mapping[str, float]:
    lines = [line.rpartition(" ") for line in page.splitlines() if not line.startswith("#")]
    return {name: float(value) for name, _, value in lines}


def test_counters_and_histograms_are_added_up() -> None:
    figures = read(
        WorkerFigures().page(OWN, {(1, 11): worker(10), (2, 22): worker(5)}, [(1, 11), (2, 22)])
    )
    assert figures["manyhands_received_bytes_total"] == 15
    assert figures['manyhands_handler_seconds_bucket{le="+Inf"}'] == 6
    assert figures["manyhands_handler_seconds_sum"] == 15
    assert figures["manyhands_rooms"] == 4


def test_what_the_supervisor_counts_for_all_is_counted_once() -> None:
    figures = read(WorkerFigures().page(OWN, {(1, 11): worker()}, [(1, 11)]))
    assert figures["manyhands_connections_accepted_total"] == 9


def test_each_worker_has_its_own_series_of_what_makes_no_sum() -> None:
    told = {(1, 11): worker(late=0.5), (2, 22): worker(late=0.1)}
    figures = read(WorkerFigures().page(OWN, told, told))
    assert figures['manyhands_hub_delay_seconds{worker="1"}'] == 0.5
    assert figures['manyhands_hub_delay_seconds{worker="2"}'] == 0.1
    assert figures['process_cpu_seconds_total{worker="1"}'] == 1.5


def test_two_generations_in_one_slot_are_one_series() -> None:
    told = {(1, 11): worker(late=0.1, expiry=9), (1, 12): worker(late=0.7, expiry=8)}
    figures = read(WorkerFigures().page(OWN, told, told))
    assert figures['manyhands_engine_running{engine="fibers",worker="1"}'] == 6
    assert figures['manyhands_hub_delay_seconds{worker="1"}'] == 0.7
    assert figures['manyhands_certificate_not_after_seconds{certfile="cert.pem"}'] == 8


def test_no_counter_falls_when_a_worker_ends_and_none_is_counted_twice() -> None:
    figures = WorkerFigures()
    figures.page(OWN, {(1, 11): worker(10, lost=3)}, [(1, 11)])
    # One that does not answer counts with what it told last.
    assert read(figures.page(OWN, {}, [(1, 11)]))["manyhands_received_bytes_total"] == 10
    for _ in range(2):
        page = read(figures.page(OWN, {(1, 12): worker(1, lost=4)}, [(1, 12)]))
        assert page["manyhands_received_bytes_total"] == 11
        assert page["manyhands_handler_seconds_count"] == 6
        # The kernel has gone on counting for the socket, which the successor has.
        assert page['manyhands_datagrams_lost_total{listener="127.0.0.1:53"}'] == 4
    page = read(figures.page(OWN, {}, []))
    assert page["manyhands_received_bytes_total"] == 11
    assert page["manyhands_handler_seconds_count"] == 6
    # The processor time of a process goes with it: its series ends.
    assert 'process_cpu_seconds_total{worker="1"}' not in page
