"""The container file of the documentation: what it starts is the first process of its namespace."""

import json
import os
import re
import shutil
import signal
import urllib.request
from pathlib import Path

import pytest

from tests.supervisor.kit import Caller
from tests.support.processes import children_of, own_number_of
from tests.support.programs import ROOT, Program
from tests.support.waiting import PATIENCE, wait_until

HANDLERS = """
import os
from manyhands import StreamRequestHandler

class Echo(StreamRequestHandler):
    def handle(self):
        for line in self.rfile:
            self.wfile.write(b"%d %s" % (os.getpid(), line))
"""


def instructions() -> dict[str, str]:
    """Return the instructions of the container file, the last one of each name."""
    text = (ROOT / "docs" / "workers.md").read_text(encoding="utf-8")
    [block] = re.findall(r"```dockerfile\n(.*?)```", text, re.DOTALL)
    return dict(line.split(" ", 1) for line in block.splitlines())


def test_what_it_says_fits_together() -> None:
    said = instructions()
    command = json.loads(said["CMD"])
    # In a list no shell stands between, which would keep the signals to itself.
    assert command[:2] == ["manyhands", "serve"]
    assert said["STOPSIGNAL"] == "SIGTERM"
    assert said["USER"] == "nobody"
    listens = [word.rpartition(":")[2] for word in command if word.startswith(("tcp:", "0.0.0.0:"))]
    assert said["EXPOSE"] in listens


@pytest.mark.skipif(
    os.geteuid() != 0 or shutil.which("unshare") is None,
    reason="namespaces of processes are for root, by way of unshare(1)",
)
def test_its_command_serves_as_the_first_process_and_ends_when_it_is_stopped(
    tmp_path: Path,
) -> None:
    (tmp_path / "shop").mkdir()
    (tmp_path / "shop" / "handlers.py").write_text(HANDLERS)
    # Any ports: those of the file may be taken on this machine.
    words = [re.sub(r":\d+$", ":0", word) for word in json.loads(instructions()["CMD"])]
    unshare = ["unshare", "--pid", "--fork", "--mount-proc", "--kill-child"]
    become = f"import os, sys; os.execvp('unshare', [*{unshare}, sys.executable, *sys.argv[1:]])"
    with Program(["-c", become, "-m", *words], tmp_path) as program:
        port = int(program.line().rpartition(":")[2])
        health = program.line().rpartition(":")[2].partition("/")[0]
        [first] = children_of(program.pid)[:1]
        assert own_number_of(first) == 1
        with Caller(("127.0.0.1", port)) as caller:
            assert caller.ask() > 1
            url = f"http://127.0.0.1:{int(health)}/readyz"
            with urllib.request.urlopen(url, timeout=PATIENCE) as answer:
                assert answer.read().strip() == b"ready"
            workers = set(children_of(first))
            # As `docker stop`: to the first process alone.
            os.kill(first, signal.SIGTERM)
            assert caller.end() == b""
        assert program.wait() == 0
        wait_until(lambda: not any(Path(f"/proc/{each}").exists() for each in workers))
