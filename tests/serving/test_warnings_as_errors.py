"""Under ``python -W error`` a server serves as ever: what was raised is sys.excepthook's."""

import pytest

from tests.support import python

PROGRAM = """
import sys, threading, warnings
from manyhands import socketserver
from tests.support import Echo, ask, serving
assert ("error", None, Warning, None, 0) in warnings.filters
raised = []
sys.excepthook = lambda kind, error, _: raised.append((kind.__name__, str(error).split()[0]))

class Server(socketserver.{kind}):
    {body}

with serving(Server(("127.0.0.1", 0), Echo)) as server:
    print([ask(server.server_address) for _ in range(3)])
print(raised)
try:
    import os
    os.waitpid(-1, os.WNOHANG)
except ChildProcessError:
    print("no child is left")
"""


@pytest.mark.parametrize(
    ("kind", "body", "raised"),
    [
        ("ForkingTCPServer", "", [("RuntimeWarning", "forking")]),
        ("ThreadingTCPServer", "engine = 'steam'", [("RuntimeWarning", "Server.engine")]),
        (
            "ForkingTCPServer",
            "engine = 'steam'",
            [("RuntimeWarning", "Server.engine"), ("RuntimeWarning", "forking")],
        ),
    ],
)
def test_a_warning_that_is_an_error_costs_no_client_anything(
    kind: str, body: str, raised: list[tuple[str, str]]
) -> None:
    finished = python("-W", "error", "-c", PROGRAM.format(kind=kind, body=body or "pass"))
    assert finished.returncode == 0, finished.stderr
    answers, told, children = finished.stdout.splitlines()
    assert answers == str([b"hello\n"] * 3)
    assert told == str(raised)
    assert children == "no child is left"
    assert "Traceback" not in finished.stderr


def test_a_warning_that_is_none_is_shown_once() -> None:
    program = PROGRAM.format(kind="ForkingTCPServer", body="engine = 'steam'")
    program = program.replace("assert", "warnings.simplefilter('always'); assert True or", 1)
    finished = python("-c", program)
    assert finished.returncode == 0, finished.stderr
    assert finished.stderr.count("RuntimeWarning: forking a server process") == 1
    assert finished.stderr.count("RuntimeWarning: Server.engine is 'steam'") == 1
