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


def judged(check: TokenCheck, token: str, client: str = "192.0.2.1") -> Verdict:
    return check.judge(f"Bearer {token}", client)


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
    assert TokenCheck("right").judge(authorization, "192.0.2.1") is verdict


def test_the_time_of_a_comparison_tells_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    compared: list[tuple[bytes, bytes]] = []

    def compare(one: bytes, other: bytes) -> bool:
        compared.append((one, other))
        return one == other

    monkeypatch.setattr("secrets.compare_digest", compare)
    check = TokenCheck("right")
    assert [judged(check, "right"), judged(check, "wrong")] == [Verdict.RIGHT, Verdict.WRONG]
    assert compared == [(b"right", b"right"), (b"wrong", b"right")]


def test_after_ten_wrong_tokens_in_a_minute_none_is_compared_any_more() -> None:
    clock = Clock()
    check = TokenCheck("right", clock)
    for _ in range(MOST_WRONG):
        assert judged(check, "wrong") is Verdict.WRONG
        clock.now += 1
    assert judged(check, "right") is Verdict.TOO_MANY
    assert judged(check, "right", client="192.0.2.2") is Verdict.RIGHT
    clock.now = 1000.0 + WRONG_SECONDS - 0.01
    assert judged(check, "right") is Verdict.TOO_MANY
    clock.now = 1000.0 + WRONG_SECONDS
    assert judged(check, "right") is Verdict.RIGHT
    assert judged(check, "wrong") is Verdict.WRONG
    assert judged(check, "right") is Verdict.TOO_MANY


def test_right_tokens_and_missing_ones_count_for_nothing() -> None:
    check = TokenCheck("right")
    for _ in range(2 * MOST_WRONG):
        assert judged(check, "right") is Verdict.RIGHT
        assert check.judge(None, "192.0.2.1") is Verdict.MISSING


def test_the_addresses_that_are_remembered_have_a_bound() -> None:
    check = TokenCheck("right", Clock())
    for number in range(2 * MOST_ADDRESSES):
        assert judged(check, "wrong", f"client {number}") is Verdict.WRONG
    assert len(vars(check)["_wrong"]) == MOST_ADDRESSES
