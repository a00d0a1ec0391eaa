"""What a handler raised is reported, whatever state the process is in."""

import subprocess
import sys

WITHOUT_A_DESCRIPTOR = """
import os, resource
from manyhands.runtime.error_reports import report
reader, writer = os.pipe()
hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
resource.setrlimit(resource.RLIMIT_NOFILE, (writer + 1, hard))
try:
    1 / 0
except ZeroDivisionError:
    report(("127.0.0.1", 1))
"""


def test_an_error_is_reported_when_no_descriptor_is_left() -> None:
    program = [sys.executable, "-c", WITHOUT_A_DESCRIPTOR]
    done = subprocess.run(program, capture_output=True, text=True, check=True)
    assert "during processing of request from ('127.0.0.1', 1)" in done.stderr
    assert "ZeroDivisionError: division by zero" in done.stderr
