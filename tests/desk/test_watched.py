"""The log and the metrics of a desk."""

import json
import shlex
import urllib.request
from pathlib import Path

from tests.desk.kit import MANYHANDS, Desk, Person
from tests.metrics.scraping import figures_at
from tests.support.waiting import PATIENCE


def test_a_desk_has_a_log_metrics_and_health(tmp_path: Path) -> None:
    words = ["--log", "json", "--access-log", "--metrics", "0", "--health", "0"]
    with Desk(tmp_path, *words) as desk:
        url = desk.shows(r"^metrics on (http://127\.0\.0\.1:\d+/metrics)$")[1]
        ready = desk.shows(r"^health on (http://127\.0\.0\.1:\d+/readyz)$")[1]
        with desk.takes_a_call() as caller:
            with urllib.request.urlopen(ready, timeout=PATIENCE) as answer:
                assert answer.read() == b"ready\n"
            assert figures_at(url)["manyhands_connections_accepted_total"] == 1
            caller.says("byebye\n")
            assert caller.hears() == "byebye"
        line = desk.shows('^{.*"event": "ConnectionClosed".*}$')[0]
        assert json.loads(line)["peer"].startswith("127.0.0.1:")
        desk.enters("/quit")
        assert desk.ends() == 0


def test_at_a_terminal_the_log_goes_to_a_file(tmp_path: Path) -> None:
    words = ["chat", "--bind", "127.0.0.1:0", "--transcript", ":memory:", "--log", "text"]
    log = tmp_path / "desk.log"
    command = f"{shlex.join([*MANYHANDS, *words, '--access-log'])} 2>{shlex.quote(str(log))}"
    with Person(["/bin/sh", "-c", command], tmp_path, columns=200) as person:
        person.sees("nobody on the line")
        assert log.read_text(encoding="utf-8") == ""
        person.enters("/quit")
        assert person.leaves() == 0


def test_a_log_that_would_be_written_over_the_desk_is_refused_in_a_sentence(
    tmp_path: Path,
) -> None:
    with Person([*MANYHANDS, "chat", "--log", "text"], tmp_path, columns=200) as person:
        assert person.leaves() == 2
        assert person.text().startswith("manyhands: a log would be written over the desk")
        assert len(person.text().splitlines()) == 1
