"""The documentation says what is so."""

import importlib.util
import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parent.parent


def test_the_options_page_is_written_from_the_table():
    spec = importlib.util.spec_from_file_location("writer", ROOT / "tools" / "write_options.py")
    writer = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(writer)
    assert writer.PAGE.read_text(encoding="utf-8") == writer.page()


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
