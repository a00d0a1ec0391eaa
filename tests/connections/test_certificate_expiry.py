"""The end of a certificate is told before it comes: once at each mark, and as a figure."""

from pathlib import Path

import pytest

from manyhands import Server, events, metrics
from manyhands.connections.certificate_expiry import DAY, ExpiryNotices
from manyhands.protocol.certificate_validity import Validity
from manyhands.testing import wait_until
from tests.metrics.scraping import scrape
from tests.support import Authority

ANY_PORT = "tls://127.0.0.1:0"


def days_told(seen: list[events.Event]) -> list[float]:
    return [event.days for event in seen if isinstance(event, events.CertificateExpires)]


class Days:
    """A wall clock that counts days."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now * DAY


def told_within(days: int, life: float, seen: list[events.Event]) -> list[float]:
    clock = Days()
    notices = ExpiryNotices(clock)
    certificates = {"site.pem": Validity((days - life) * DAY, days * DAY)}
    for half in range(2 * days + 10):
        clock.now = half / 2
        notices.tell_what_is_due(certificates)
    return days_told(seen)


def test_each_mark_is_told_once(seen: list[events.Event]) -> None:
    assert told_within(40, 365, seen) == [30, 14, 7, 3, 1, 0]


def test_what_is_valid_for_days_alone_is_not_told_of_at_once(seen: list[events.Event]) -> None:
    assert told_within(6, 6, seen) == [2, 1, 0]


@pytest.mark.parametrize("life", [1, 2])
def test_what_is_valid_for_a_day_or_two_is_told_of_before_its_end(
    life: int, seen: list[events.Event]
) -> None:
    first, *others = told_within(life, 1.5 * life, seen)
    assert first == life / 2
    assert others == [0]


def test_a_server_that_starts_late_tells_the_nearest_mark_alone(seen: list[events.Event]) -> None:
    assert told_within(5, 365, seen) == [5, 3, 1, 0]


def test_a_certificate_that_was_replaced_begins_anew(seen: list[events.Event]) -> None:
    clock = Days()
    notices = ExpiryNotices(clock)
    old, new = Validity(-300 * DAY, 5 * DAY), Validity(-300 * DAY, 6 * DAY)
    for validity in (old, old, new, new):
        notices.tell_what_is_due({"site.pem": validity})
    assert days_told(seen) == [5, 6]


def test_a_server_tells_of_each_certificate_and_so_do_its_figures(
    authority: Authority,
    tmp_path: Path,
    seen: list[events.Event],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("manyhands.connections.certificates.FILES_INTERVAL", 0.05)
    soon = authority.write(tmp_path, "a.example", stem="soon", days=(-360, 5))
    late = authority.write(tmp_path, "b.example", stem="late", days=(-360, 500))
    certfiles, keyfiles = zip(soon, late, strict=True)
    with (
        Server(print, ANY_PORT, certfile=certfiles, keyfile=keyfiles) as server,
        metrics.serve(server, "127.0.0.1:0") as exporter,
    ):
        wait_until(lambda: days_told(seen))
        figures = scrape(exporter)
        at = {
            file: figures[f'manyhands_certificate_not_after_seconds{{certfile="{file}"}}']
            for file in certfiles
        }
        assert server.info().certificates == at
        # They are written one after the other, perhaps in another second.
        assert at[late[0]] - at[soon[0]] == pytest.approx(495 * DAY, abs=60)
        # A new one in its place is told of by its own end.
        authority.write(tmp_path, "a.example", stem="soon", days=(-360, 2))
        wait_until(lambda: len(days_told(seen)) == 2)
    [first, second] = [event for event in seen if isinstance(event, events.CertificateExpires)]
    assert (first.certfile, second.certfile) == (soon[0], soon[0])
    assert 4.9 < first.days < 5
    assert 1.9 < second.days < 2


def test_a_chain_that_ends_before_its_certificate_counts(
    authority: Authority, tmp_path: Path
) -> None:
    own, key = authority.write(tmp_path, "a.example", stem="own", days=(-360, 500))
    sooner, _ = authority.write(tmp_path, "sooner", stem="sooner", days=(-900, 20))
    later, _ = authority.write(tmp_path, "later", stem="later", days=(-900, 900))
    ends = {}
    for stem, files in {
        "alone": (own,),
        "longer": (own, later),
        "chained": (own, later, sooner),
    }.items():
        chain = tmp_path / f"{stem}.pem"
        chain.write_bytes(b"".join(Path(file).read_bytes() for file in files))
        with Server(print, ANY_PORT, certfile=str(chain), keyfile=key) as server:
            (ends[stem],) = server.info().certificates.values()
    assert ends["alone"] == ends["longer"]
    # They are written one after the other, perhaps in another second.
    assert ends["alone"] - ends["chained"] == pytest.approx(480 * DAY, abs=60)
