"""The documentation says what is so."""

import ast
import importlib.util
import re
import signal
import socket
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from itertools import chain
from pathlib import Path

import pytest

from manyhands import Reason
from manyhands.framing import LengthPrefix
from manyhands.model.connection_states import picture
from manyhands.testing import half_close, serving
from tests.support import Program, ask, call, is_listening, wait_until
from tests.support.waiting import PATIENCE
from tests.test_architecture import FLOOR_OF

ROOT = Path(__file__).parent.parent


@pytest.mark.parametrize("tool", ["write_options.py", "write_events.py", "write_verbs.py"])
def test_what_a_tool_writes_is_what_it_would_write_now(tool):
    spec = importlib.util.spec_from_file_location("writer", ROOT / "tools" / tool)
    writer = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(writer)
    for file, text in writer.WRITTEN.items():
        assert file.read_text(encoding="utf-8") == text()


def test_the_page_of_connections_has_the_table_s_picture_and_every_reason():
    page = (ROOT / "docs" / "connections.md").read_text(encoding="utf-8")
    assert f"```mermaid\n{picture()}\n```" in page
    listed = re.findall(
        r"^\| `(\w+)` \| (.+) \|$", page.partition("## The reasons")[2], flags=re.MULTILINE
    )
    assert listed == [(reason.value, reason.sentence) for reason in Reason]


BLOCK = re.compile(r"^```(\w*)\n(.*?)^```$", flags=re.DOTALL | re.MULTILINE)


def pictures(page: str) -> list[str]:
    blocks = BLOCK.findall((ROOT / page).read_text(encoding="utf-8"))
    return [block for language, block in blocks if not language]


def test_the_picture_of_the_floors_is_that_of_the_test_which_holds_the_rooms_to_them():
    [picture, *_] = pictures("docs/architecture.md")
    shown = re.findall(r"^ *(\d+)  (\w+) ", picture, flags=re.MULTILINE)
    assert [(int(floor), room) for floor, room in shown] == sorted(
        ((floor, room) for room, floor in FLOOR_OF.items()), key=lambda each: (-each[0], each[1])
    )


def test_the_readme_s_picture_of_the_house_has_every_room_above_those_that_it_knows():
    shown = re.findall(r"(\w+)(?:/|\.py)", pictures("README.md")[-1])
    assert sorted(shown) == sorted(room for room in FLOOR_OF if not room.startswith("_"))
    assert shown == sorted(shown, key=FLOOR_OF.__getitem__, reverse=True)


def names_in(body: list[ast.stmt]) -> Iterator[tuple[str, ast.stmt]]:
    """Yield what a module or a class defines, in each branch too, with the definitions."""
    for node in body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            yield node.name, node
        targets = getattr(node, "targets", [getattr(node, "target", None)])
        yield from ((target.id, node) for target in targets if isinstance(target, ast.Name))
        for branch in ("body", "orelse") if isinstance(node, ast.If | ast.Try) else ():
            yield from names_in(getattr(node, branch))


def names_of_the_tree() -> set[str]:
    """Return `room.module.Class.member`, and whatever that may be shortened to."""
    source = ROOT / "src" / "manyhands"
    names, members, bases = set(FLOOR_OF), {}, {}
    for file in source.rglob("*.py"):
        module = ".".join(file.relative_to(source).with_suffix("").parts).removesuffix(".__init__")
        names.add(module)
        for name, node in names_in(ast.parse(file.read_bytes()).body):
            names |= {name, f"{module}.{name}"}
            if isinstance(node, ast.ClassDef):
                own = {member for member, _ in names_in(node.body)}
                own |= {n.attr for n in ast.walk(node) if isinstance(n, ast.Attribute)}
                members.setdefault(name, set()).update(own)
                bases[name] = [base.id for base in node.bases if isinstance(base, ast.Name)]
                names |= {f"{module}.{name}.{member}" for member in own}
    for kind in members:
        for base in (kind, *bases[kind]):
            names |= {f"{kind}.{member}" for member in members.get(base, ())}
    return names


def test_the_page_of_the_architecture_names_what_is_there():
    text = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    names, sources = names_of_the_tree(), [ROOT, ROOT / "src" / "manyhands"]
    words = set(chain.from_iterable(name.split(".") for name in names)) | sys.stdlib_module_names
    unknown = []
    for said in re.findall(r"`([\w./]+)(?:\(\))?`", BLOCK.sub("", text)):
        first, dot, rest = said.partition(".")
        if "/" in said or rest == "py":
            is_there = any((source / said).exists() for source in sources)
        elif dot and first in words:
            is_there = said in names
        else:
            is_there = said.rpartition(".")[2] in words
        if not is_there:
            unknown.append(said)
    assert unknown == []


def test_every_link_between_the_pages_leads_somewhere():
    pages = [ROOT / "README.md", *(ROOT / "docs").glob("*.md")]
    broken = [
        (page.name, link)
        for page in pages
        for link in re.findall(r"\]\(([^)#:]+)\)", page.read_text(encoding="utf-8"))
        if not (page.parent / link).exists()
    ]
    assert broken == []


def parts(page: Path) -> list[str]:
    """Return the marks of a page's headings, list items and tables, and its programs without comments."""
    text = page.read_text(encoding="utf-8")
    found = re.findall(r"^(?:(#+|-|\|)(?= ).*|```\w+\n((?:.*\n)*?)```)$", text, flags=re.MULTILINE)
    return [re.sub(r" *#.*", "", program) or mark for mark, program in found]


def names_on(page: Path) -> set[str]:
    return set(re.findall(r"`([^`]+)`", BLOCK.sub("", page.read_text(encoding="utf-8"))))


@pytest.mark.parametrize(
    "chinese", sorted((ROOT / "docs").glob("*.zh-CN.md")), ids=lambda page: page.name
)
def test_a_page_in_chinese_has_the_parts_the_programs_and_the_names_of_the_english_one(chinese):
    english = chinese.with_name(chinese.name.replace(".zh-CN", ""))
    assert parts(chinese) == parts(english)
    assert names_on(chinese) ^ names_on(english) == set()
    assert f"]({english.name})" in chinese.read_text(encoding="utf-8")
    assert f"]({chinese.name})" in english.read_text(encoding="utf-8")


def test_the_readme_leads_with_the_two_commands():
    head = (ROOT / "README.md").read_text(encoding="utf-8")[:700]
    assert "make run" in head
    assert "make test" in head


README_PROGRAM = "readme_echo.py"


@pytest.fixture
def readme_folder(tmp_path):
    """A folder with the program of the README, on a free port, which is returned too."""
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    [program] = re.findall(r"```python\n(.*?)```", text, flags=re.DOTALL)
    assert len([line for line in program.splitlines() if line]) <= 8
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    (tmp_path / README_PROGRAM).write_text(program.replace(":8008", f":{port}"), encoding="utf-8")
    return tmp_path, port


def test_the_handler_in_the_readme_serves_and_ctrl_c_ends_it_though_a_client_stays(readme_folder):
    folder, port = readme_folder
    with Program([README_PROGRAM], folder) as program:
        wait_until(lambda: is_listening(port))
        with call(("127.0.0.1", port)) as client:
            client.sendall(b"hello\n")
            assert client.recv(100) == b"hello\n"
            program.send(signal.SIGINT)
            assert (program.wait(), program.errors()) == (0, "")


def test_the_handler_in_the_readme_can_be_imported_by_the_command(readme_folder):
    folder, _ = readme_folder
    serve = ["-m", "manyhands", "serve", f"{README_PROGRAM}:Echo", "--bind", "127.0.0.1:0"]
    with Program(serve, folder) as program:
        port = int(program.line().rpartition(":")[2])
        assert ask(("127.0.0.1", port)) == b"hello\n"


def test_make_run_on_a_port_that_is_taken_says_how_to_take_another():
    # `-o`: whatever is set up will do, the test is to set up nothing.
    with socket.create_server(("127.0.0.1", 0)) as taken:
        options = f"--bind 127.0.0.1:{taken.getsockname()[1]} --transcript :memory:"
        done = subprocess.run(
            ["make", "-s", "-o", ".venv/.for-run", "run", f"ARGS={options}"],
            cwd=ROOT,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=PATIENCE,
            check=False,
        )
    sentence, hint, *_ = done.stderr.splitlines()
    assert sentence.startswith("manyhands: Address already in use: cannot listen on 127.0.0.1:")
    assert sentence.endswith("; --bind says another address")
    assert hint.endswith('make run ARGS="--bind tcp://127.0.0.1:8009"')


def pages_and_sources():
    folders = ("docs", "src", "tools", "examples", "requirements")
    below = [file for folder in folders for file in (ROOT / folder).rglob("*.*")]
    return [
        file
        for file in [*ROOT.glob("*.*"), *below]
        if file.suffix in {".md", ".py", ".toml", ".in"}
    ]


def test_no_page_installs_by_a_name_that_is_another_project_s_in_the_index():
    by_name = re.compile(r"pip install (?:-\S+ )*['\"]?manyhands\b|manyhands\[\w+\]")
    told = [
        (file.name, found)
        for file in pages_and_sources()
        for found in by_name.findall(file.read_text(encoding="utf-8"))
    ]
    assert told == []


def test_the_extra_for_all_is_the_sum_of_the_others():
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"][
        "optional-dependencies"
    ]
    everything = extras.pop("all")
    assert sorted(everything) == sorted(chain.from_iterable(extras.values()))


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
