"""What the import of the drop-in brings into a program."""

import subprocess
import sys


def test_a_program_that_sets_no_option_loads_nothing_for_the_others() -> None:
    program = "import sys; from manyhands import socketserver; print(*sys.modules)"
    loaded = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    modules = set(loaded.stdout.split())
    assert "manyhands.dropin.tcp" in modules
    # Those of docs/architecture.md, which cost the most, and what brings gevent.
    assert not modules & {
        *("argparse", "dataclasses", "gevent", "inspect", "json", "logging", "re", "ssl")
    }
