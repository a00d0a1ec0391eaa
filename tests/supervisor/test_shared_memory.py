"""What workers share of their template's memory."""

from pathlib import Path

import pytest

from tests.supervisor.command import shop
from tests.supervisor.kit import ENGINES

HANDLER = """
import gc, os, sys
from manyhands import StreamRequestHandler

class Echo(StreamRequestHandler):
    def handle(self):
        engine = type(self.server.owner.engine)
        # What there was before the fork is frozen, and no collection's any more.
        own = {id(each) for each in gc.get_objects()}
        is_shared = id(engine) not in own and id(type(self.server.owner)) not in own
        for line in self.rfile:
            self.wfile.write(b"%d %s %s" % (os.getpid(), b"shared" if is_shared else b"own", line))
"""


@pytest.mark.parametrize("engine", ENGINES)
def test_the_code_of_an_engine_is_there_before_workers_are_forked(
    engine: str, tmp_path: Path
) -> None:
    (tmp_path / "shop.py").write_text(HANDLER)
    with shop(tmp_path, "--engine", engine) as served:
        assert served.word() == "shared"
