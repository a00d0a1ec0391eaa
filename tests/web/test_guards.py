"""Names, origins and tokens, without a socket."""

import pytest

from manyhands.web.guards import (
    LOOPBACK_NAMES,
    MOST_ADDRESSES,
    MOST_WRONG,
    WRONG_SECONDS,
    Hosts,
    TokenCheck,
    Verdict,
    is_same_origin,
)


@pytest.mark.parametrize(
    "header",
    [
        "127.0.0.1",
        "127.0.0.1:8010",
        "localhost:1",
        "LOCALHOST:8010",
        "[::1]:8010",
        "[0:0:0:0:0:0:0:1]",
        "status.example.org",
        "status.example.org:443",
    ],
)
def test_a_name_of_the_page_is_one_however_it_is_written(header: str) -> None:
    assert Hosts([*LOOPBACK_NAMES, "status.example.org"]).has(header)


@pytest.mark.parametrize(
    "header",
    [
        "",
        "127.evil.example",
        "127.0.0.1.evil.example",
        "localhost.evil.example",
        "evil.example:8010",
        "evil-localhost",
        "xstatus.example.org",
        "[::2]:8010",
        "::1",
        "[localhost]",
        "127.0.0.2",
        "127.0.0.1:8010:9",
        "user@127.0.0.1",
        "127.0.0.1/x",
        "127.0.0.1:http",
        "127.1",
        "2130706433",
        "0x7f000001",
    ],
)
def test_no_other_name_is(header: str) -> None:
    assert not Hosts([*LOOPBACK_NAMES, "status.example.org"]).has(header)


@pytest.mark.parametrize(
    ("headers", "is_own"),
    [
        ({}, True),
        ({"sec-fetch-site": "same-origin"}, True),
        ({"sec-fetch-site": "none"}, True),
        ({"sec-fetch-site": "same-site"}, False),
        ({"sec-fetch-site": "cross-site"}, False),
        ({"sec-fetch-site": "anything"}, False),
        ({"origin": "http://127.0.0.1:8010"}, True),
        ({"origin": "https://127.0.0.1:8010"}, True),
        ({"origin": "http://127.0.0.1:8011"}, False),
        ({"origin": "http://evil.example"}, False),
        ({"origin": "null"}, False),
        ({"origin": ""}, False),
        ({"origin": "http://evil.example", "sec-fetch-site": "same-origin"}, False),
    ],
)
def test_a_request_is_of_the_page_itself_or_of_no_page(
    headers: dict[str, str], is_own: bool
) -> None:
    assert is_same_origin({"host": "127.0.0.1:8010", **headers}) == is_own


class Clock:
    """Tells the time that a test sets."""

    now = 1000.0

    def __call__(self) -> float:
        return self.now


def judged(check: TokenCheck, token: str, host: str = "192.0.2.1") -> Verdict:
    return check.judge(f"Bearer {token}", (host, 40000))


@pytest.mark.parametrize(
    ("authorization", "verdict"),
    [
        (None, Verdict.MISSING),
        ("", Verdict.MISSING),
        ("Bearer", Verdict.MISSING),
        ("Basic right", Verdict.MISSING),
        ("Bearer right", Verdict.RIGHT),
        ("bearer right", Verdict.RIGHT),
        ("Bearer rigth", Verdict.WRONG),
        ("Bearer r\xefght", Verdict.WRONG),
        ("Bearer right right", Verdict.WRONG),
    ],
)
def test_the_token_is_that_of_a_bearer(authorization: str | None, verdict: Verdict) -> None:
    assert TokenCheck("right").judge(authorization, ("192.0.2.1", 40000)) is verdict


def test_the_time_of_a_comparison_tells_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    compared: list[tuple[bytes, bytes]] = []

    def compare(one: bytes, other: bytes) -> bool:
        compared.append((one, other))
        return one == other

    monkeypatch.setattr("secrets.compare_digest", compare)
    check = TokenCheck("right")
    assert [judged(check, "right"), judged(check, "wrong")] == [Verdict.RIGHT, Verdict.WRONG]
    assert compared == [(b"right", b"right"), (b"wrong", b"right")]


def test_after_ten_wrong_tokens_in_a_minute_more_are_too_many_and_the_right_one_is_let_in() -> None:
    clock = Clock()
    check = TokenCheck("right", clock)
    for _ in range(MOST_WRONG):
        assert judged(check, "wrong") is Verdict.WRONG
        clock.now += 1
    assert judged(check, "wrong") is Verdict.TOO_MANY
    assert check.seconds_to_wait(("192.0.2.1", 1)) == WRONG_SECONDS - MOST_WRONG
    assert judged(check, "right") is Verdict.RIGHT
    assert judged(check, "wrong", "192.0.2.2") is Verdict.WRONG
    clock.now = 1000.0 + WRONG_SECONDS - 0.01
    assert judged(check, "wrong") is Verdict.TOO_MANY
    clock.now = 1000.0 + WRONG_SECONDS
    assert check.seconds_to_wait(("192.0.2.1", 1)) == 0
    assert [judged(check, "wrong") for _ in range(2)] == [Verdict.WRONG, Verdict.TOO_MANY]


def test_right_tokens_and_missing_ones_count_for_nothing() -> None:
    check = TokenCheck("right")
    for _ in range(2 * MOST_WRONG):
        assert judged(check, "right") is Verdict.RIGHT
        assert check.judge(None, ("192.0.2.1", 40000)) is Verdict.MISSING
    assert judged(check, "wrong") is Verdict.WRONG


@pytest.mark.parametrize(
    ("clients", "count_as_one"),
    [
        ([(f"127.0.0.{number}", 1) for number in range(1, 12)], True),
        ([*[("127.0.0.1", 1)] * 5, *[("::1", 1, 0, 0)] * 5, "a client's own name"], True),
        ([f"\0{number}".encode() for number in range(11)], True),
        ([(f"2001:db8::{number}", 1, 0, 0) for number in range(1, 12)], True),
        ([("192.0.2.1", 1)] * 10 + [("::ffff:192.0.2.1", 1, 0, 0)], True),
        ([(f"192.0.2.{number}", 1) for number in range(1, 12)], False),
        ([(f"2001:db8:0:{number}::1", 1, 0, 0) for number in range(1, 12)], False),
    ],
)
def test_a_client_is_counted_by_what_it_cannot_choose(
    clients: list[object], count_as_one: bool
) -> None:
    check = TokenCheck("right", Clock())
    *_, last = [check.judge("Bearer wrong", client) for client in clients]
    assert last is (Verdict.TOO_MANY if count_as_one else Verdict.WRONG)


def test_of_too_many_addresses_the_one_that_was_wrong_longest_ago_is_forgotten() -> None:
    check = TokenCheck("right", Clock())
    goes_on, has_stopped = "198.51.100.1", "198.51.100.2"
    for host in (goes_on, has_stopped):
        for _ in range(MOST_WRONG):
            assert judged(check, "wrong", host) is Verdict.WRONG
    assert judged(check, "wrong", goes_on) is Verdict.TOO_MANY
    for number in range(MOST_ADDRESSES - 1):
        judged(check, "wrong", f"192.0.{number >> 8}.{number & 255}")
    assert judged(check, "wrong", goes_on) is Verdict.TOO_MANY
    assert judged(check, "wrong", has_stopped) is Verdict.WRONG
