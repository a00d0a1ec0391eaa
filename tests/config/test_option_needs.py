"""Options that would do nothing without others are refused, by the names under which they were given."""

from typing import Any

import pytest

from manyhands import Server
from manyhands.config import options
from manyhands.config.option import refuse_useless
from manyhands.config.options import OPTIONS, SERVER_OPTIONS
from manyhands.model.usage_errors import Mistake
from tests.support import Echo


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        ({"rate_burst": 5}, "rate_burst without max_rate is of no use"),
        ({"rate_burst_per_ip": 5}, "rate_burst_per_ip without max_rate_per_ip is of no use"),
        ({"rate_burst_per_ip": 5, "max_rate": 2}, "rate_burst_per_ip without max_rate_per_ip is"),
        ({"proxy_trusted": "10.0.0.0/8"}, "proxy_trusted without proxy_protocol is of no use"),
        ({"ipv6_prefix": 48}, "ipv6_prefix without max_connections_per_ip or max_rate_per_ip is"),
        ({"when_full": "refuse", "max_connections": None}, "when_full without max_connections is"),
        ({"refusal": "full"}, "refusal without when_full, max_connections_per_ip, max_rate, max_r"),
        ({"refusal": "full", "when_full": "wait"}, "refusal without when_full, max_connections_pe"),
        ({"max_threads": 5, "engine": "fibers"}, "max_threads is of no use on the engine fibers: "),
        ({"max_children": 5}, "max_children is of no use on the engine threads: it is one of the "),
        ({"max_fibers": 5}, "max_fibers is of no use on the engine threads: it is one of the engi"),
        ({"reload_drain": "stay"}, "reload_drain without workers is of no use"),
        ({"max_generations": 2, "workers": 0}, "max_generations without workers is of no use"),
        ({"start_timeout": 9, "workers": None}, "start_timeout without workers is of no use"),
        ({"worker_timeout": 9}, "worker_timeout without workers is of no use"),
        ({"hub_block_time": 5.0}, "hub_block_time is of no use on the engine threads: it is one o"),
    ],
)
def test_an_option_that_would_do_nothing_is_a_mistake(given: dict[str, Any], sentence: str) -> None:
    with pytest.raises(Mistake) as refused:
        refuse_useless(given, SERVER_OPTIONS)
    assert str(refused.value).startswith(sentence)
    with pytest.raises(Mistake):
        Server(Echo, "tcp://127.0.0.1:0", **given)


@pytest.mark.parametrize(
    "given",
    [
        {"rate_burst": 5, "max_rate": 2},
        {"rate_burst": None},
        {"proxy_trusted": "10.0.0.0/8", "proxy_protocol": True},
        {"when_full": "refuse"},
        {"when_full": lambda *_: None, "refusal": b"full"},
        {"when_full": "wait", "max_connections": None},
        {"refusal": "denied", "deny": "10.0.0.0/8"},
        {"ipv6_prefix": 48, "max_rate_per_ip": 1},
        {"max_threads": 5},
        {"max_fibers": 5, "engine": "fibers"},
        {"max_children": 40, "engine": "threads"},
        {"hub_block_time": None},
        {"workers": 0},
        {"worker_timeout": 9, "workers": 1},
        {"reload_drain": "stay", "workers": "auto"},
        {"reload_drain": "drain"},
    ],
)
def test_what_does_something_or_asks_for_nothing_is_taken(given: dict[str, Any]) -> None:
    refuse_useless(given, SERVER_OPTIONS)


def test_workers_need_what_linux_has(monkeypatch: pytest.MonkeyPatch) -> None:
    assert options.checked({"workers": 2})["workers"] == 2
    monkeypatch.setattr(options, "CAN_HAVE_WORKERS", False)
    with pytest.raises(
        Mistake, match=r"^workers need Linux: another system cannot watch them, and d"
    ):
        options.checked({"workers": 2})
    for fewest in (0, None):
        options.checked({"workers": fewest})


@pytest.mark.parametrize("name", ["max_threads", "max_children", "max_fibers", "hub_block_time"])
def test_a_program_that_chooses_its_engine_by_a_class_may_have_the_bounds_of_any(name: str) -> None:
    refuse_useless({name: 5}, OPTIONS)


def test_the_table_knows_options_alone() -> None:
    assert {name for option in OPTIONS.values() for name in option.needs} <= set(OPTIONS)
