"""What is kept of a connection that goes from one process to another: bytes and values."""

import random

import pytest

from manyhands.connections.hand_over import Kept, can_be_left
from manyhands.framing import FramedRequestHandler

KEPT = Kept(
    b"state",
    b"unread",
    b"unsent",
    {"all": "An\u0308na"},
    {"max_age": None, "idle_timeout": 0.5},
    4711.5,
)


@pytest.mark.parametrize(
    "kept",
    [
        KEPT,
        Kept(b"", b"", b"", {}, {}, 0.0),
        KEPT._replace(state=bytes(range(256)) * 4096, unsent=b""),
    ],
)
def test_all_that_is_kept_comes_back(kept: Kept) -> None:
    assert Kept.of_bytes(kept.as_bytes()) == kept


def test_what_is_cut_off_is_refused_and_no_byte_of_it_is_taken_for_another() -> None:
    whole = KEPT.as_bytes()
    for length in range(len(whole) - len(KEPT.unsent)):
        with pytest.raises(ValueError, match=r"."):
            Kept.of_bytes(whole[:length])


def test_noise_is_refused_with_a_value_error_or_is_something() -> None:
    chance = random.Random(1)
    whole = KEPT.as_bytes()
    for _ in range(500):
        spoilt = bytearray(whole)
        spoilt[chance.randrange(len(whole))] ^= 1 << chance.randrange(8)
        try:
            assert isinstance(Kept.of_bytes(bytes(spoilt)), Kept)
        except (ValueError, TypeError):
            continue


class _Resumable(FramedRequestHandler):
    resumable = True


@pytest.mark.parametrize(
    ("handler", "engine", "may"),
    [
        (_Resumable, "threads", True),
        (_Resumable, "fibers", True),
        (_Resumable, "processes", False),
        (_Resumable, "sequential", False),
        (FramedRequestHandler, "threads", False),
        (lambda *_: None, "threads", False),
    ],
)
def test_which_handlers_can_be_left(handler: object, engine: str, may: bool) -> None:
    assert can_be_left(handler, engine) is may
