"""What befalls the processes that fork workers: killed while they start, talking nonsense, not to be had."""

import json
import os
import signal
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from manyhands.control.client import Client, Refused
from manyhands.runtime.sockets import unix_pair
from manyhands.supervisor.template_process import TemplateProcess
from tests.supervisor.command import Shop, is_there, shop
from tests.supervisor.kit import kill
from tests.supervisor.programs import service
from tests.support import open_descriptors
from tests.support.processes import children_of
from tests.support.waiting import wait_until

SLOW = """
with open("begun", "w") as file:
    file.write(str(os.getpid()))
while not os.path.exists("go"):
    time.sleep(0.01)
"""
"""An import that lasts as long as the test wants."""


def importing(served: Shop) -> int:
    """Wait until a process imports the slow module; return which it is."""
    begun = served.folder / "begun"
    wait_until(lambda: begun.exists() and begun.read_text())
    process = int(begun.read_text())
    begun.unlink()
    return process


# Killed while it starts


def test_a_program_that_is_killed_while_it_starts_ends_the_start_in_a_sentence(
    tmp_path: Path,
) -> None:
    served = Shop(tmp_path, first=SLOW)
    with served.program as program:
        kill(importing(served))
        assert program.wait() == 3
        [line] = program.errors().splitlines()
        assert "the program ended before it served, with signal 9" in line


def test_a_program_that_is_killed_while_it_is_reloaded_leaves_the_old_one(tmp_path: Path) -> None:
    with shop(tmp_path) as served, served.call() as caller:
        assert caller.word() == "one"
        served.write("two", first=SLOW)
        served.program.send(signal.SIGHUP)
        kill(importing(served))
        assert "with signal 9" in served.hear("NotReloaded")["why"]
        assert caller.word() == "one"
        (tmp_path / "go").touch()
        served.reload()
        assert served.word() == "two"


def test_a_program_that_is_killed_while_its_upgrade_is_looked_at_leaves_the_old_one(
    tmp_path: Path,
) -> None:
    with shop(tmp_path) as served, served.call() as caller:
        assert caller.word() == "one"
        served.write("two", first=SLOW)
        served.program.send(signal.SIGUSR2)
        kill(importing(served))
        assert "ended before it served, with the status -9" in served.hear("NotUpgraded")["why"]
        assert caller.word() == "one"


# The interpreter is gone

GONE = """
    from manyhands.model import events
    link = os.path.abspath("interpreter")
    if os.getpid() == server_process:
        os.symlink(sys.executable, link)
        sys.executable = link
    server = Server(Pid, ("127.0.0.1", 0), workers=2, control="control")
"""
"""Its first workers are its copies; whatever else it starts it starts by a link, which the test removes."""


def test_without_its_interpreter_a_server_goes_on_and_says_what_it_cannot_do(
    tmp_path: Path,
) -> None:
    with service(tmp_path, GONE) as program, program.call() as caller:
        served_by = caller.ask()
        interpreter = (tmp_path / "interpreter").readlink()
        (tmp_path / "interpreter").unlink()
        with Client(str(tmp_path / "control")) as client:
            for verb in ("reload", "upgrade"):
                with pytest.raises(Refused, match="no process can be started: No such file"):
                    client.request(verb, timeout=60)
        program.wait_for("NotReloaded ")
        program.wait_for("NotUpgraded ")
        # What is forked is to be had all the same.
        before = program.workers(2)
        assert served_by in before
        [victim] = before - {served_by}
        kill(victim)
        program.wait_for("WorkerDied ")
        wait_until(lambda: len(program.workers(2)) == 2)
        assert caller.ask() == served_by
        (tmp_path / "interpreter").symlink_to(interpreter)
        with Client(str(tmp_path / "control")) as client:
            client.request("reload", timeout=60)
        program.wait_for("Reloaded ")


# Nonsense

GARBLED = """
    from manyhands.workers import template

    say = template.Template._say

    def say_nonsense(self, said, *descriptors):
        say(self, said, *descriptors)
        if said["kind"] == "ended" and not os.path.exists("said"):
            open("said", "w").close()
            self._channel.send({nonsense!r})

    template.Template._say = say_nonsense
    server = Server(Pid, ("127.0.0.1", 0), workers=2)
"""


@pytest.mark.parametrize(
    "nonsense",
    [b"nonsense", b'{"kind": "ended"}', b'{"kind": "ended", "pid": [], "status": 0}', b"[1]"],
    ids=["no JSON", "nothing of it", "no process", "a list"],
)
def test_a_template_that_talks_nonsense_is_made_again_and_its_workers_go_on(
    nonsense: bytes, tmp_path: Path
) -> None:
    with service(tmp_path, GARBLED.format(nonsense=nonsense)) as program:
        victim, other = sorted(program.workers(2))
        [template] = [
            pid for pid in children_of(program.pid) if set(children_of(pid)) >= {victim, other}
        ]
        kill(victim)
        wait_until(lambda: not is_there(template))
        with program.call() as caller:
            assert caller.ask()
        wait_until(lambda: len(program.workers(2)) == 2)
        assert victim not in program.workers(2)


@pytest.fixture(scope="module")
def process() -> Iterator[int]:
    """A process that a template could be."""
    with subprocess.Popen(["sleep", "1000"]) as started:
        yield started.pid
        started.kill()


WORDS = st.sampled_from(["kind", "slot", "pid", "status", "ready", "failed", "forked", "sentence"])
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text() | WORDS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(WORDS, inner, max_size=4),
    max_leaves=6,
)
MESSAGES = st.lists(
    st.binary(min_size=1, max_size=200) | VALUES.map(lambda value: json.dumps(value).encode()),
    max_size=4,
)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(messages=MESSAGES, with_descriptors=st.booleans())
def test_whatever_a_template_says_it_is_read_or_the_template_is_ended(
    messages: list[bytes], with_descriptors: bool, process: int
) -> None:
    # The file that Hypothesis keeps its examples in is opened before.
    before = open_descriptors()
    here, there = unix_pair(socket.SOCK_SEQPACKET)
    plain: dict[str, Any] = {"about": {}, "pid": process, "began_at": 0.0}
    template = TemplateProcess.of_plain(
        {**plain, "pidfd": os.pidfd_open(process), "channel": here.detach()}
    )
    ended = []
    template.kill = lambda: ended.append(True)  # type: ignore[method-assign]
    for message in messages:
        if with_descriptors:
            socket.send_fds(there, [message], [0, 1])
        else:
            there.send(message)
    told = template.hear()
    assert bool(ended) is template.is_garbled is (len(told) < len(messages))
    for said, descriptors in told:
        assert said["kind"] is not None or "kind" in said
        for each in descriptors:
            os.close(each)
    if template.is_garbled:
        assert "cannot be read" in template.failure
        assert template.hear() == []
    template.close()
    there.close()
    assert open_descriptors() == before
