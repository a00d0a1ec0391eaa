"""The documentation says what is so."""

import importlib.util
import re
import subprocess
import sys
from pathlib import Path

import pytest

from manyhands import Reason
from manyhands.framing import LengthPrefix
from manyhands.rules.states import picture
from manyhands.testing import half_close, serving

ROOT = Path(__file__).parent.parent


@pytest.mark.parametrize("tool", ["write_options.py", "write_events.py"])
def test_a_page_that_a_tool_writes_is_what_it_would_write_now(tool):
    spec = importlib.util.spec_from_file_location("writer", ROOT / "tools" / tool)
    writer = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(writer)
    assert writer.PAGE.read_text(encoding="utf-8") == writer.page()


def test_the_page_of_connections_has_the_table_s_picture_and_every_reason():
    page = (ROOT / "docs" / "connections.md").read_text(encoding="utf-8")
    assert f"```mermaid\n{picture()}\n```" in page
    listed = re.findall(
        r"^\| `(\w+)` \| (.+) \|$", page.partition("## The reasons")[2], flags=re.MULTILINE
    )
    assert listed == [(reason.value, reason.sentence) for reason in Reason]


def test_every_link_between_the_pages_leads_somewhere():
    pages = [ROOT / "README.md", *(ROOT / "docs").glob("*.md")]
    broken = [
        (page.name, link)
        for page in pages
        for link in re.findall(r"\]\(([^)#:]+)\)", page.read_text(encoding="utf-8"))
        if not (page.parent / link).exists()
    ]
    assert broken == []


def test_the_readme_leads_with_the_two_commands():
    head = (ROOT / "README.md").read_text(encoding="utf-8")[:700]
    assert "make run" in head
    assert "make test" in head


def test_the_handler_in_the_readme_serves():
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    [program] = re.findall(r"```python\n(.*?)```", text, flags=re.DOTALL)
    program = program.replace("8008", "0").replace(
        "    server.serve_forever()",
        "    import socket, threading\n"
        "    threading.Thread(target=server.serve_forever).start()\n"
        "    with socket.create_connection(server.server_address) as client:\n"
        "        client.sendall(b'hello\\n')\n"
        "        print(client.recv(100))\n"
        "    server.shutdown()\n",
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=30, check=False
    )
    assert (done.stdout, done.stderr) == ("b'hello\\n'\n", "")


def programs(page: str) -> list[str]:
    text = (ROOT / "docs" / page).read_text(encoding="utf-8")
    return re.findall(r"```python\n(.*?)```", text, flags=re.DOTALL)


def test_the_test_on_the_page_of_the_kit_passes():
    names = {"__name__": "its_author"}
    exec(compile(programs("testing.md")[0], "testing.md", "exec"), names)
    names["test_each_line_comes_back"]()


def test_both_ends_on_the_page_of_framing_understand_each_other():
    handler, other_end = programs("framing.md")
    server_side = {"__name__": "its_author"}
    exec(handler.partition("with ThreadingTCPServer")[0], server_side)
    with serving(server_side["Sums"]) as server:
        peer = server.connect()
        peer.sendall(LengthPrefix(4).pack(9) + b"[1, 2, 3]")
        half_close(peer)
        printed = []
        exec(other_end, {"connection": peer, "print": printed.append})
    assert printed == [b"6"]
