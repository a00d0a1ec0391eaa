"""The files of the page: their types, what they never do, and that they are in what is installed."""

import json
import re
import shutil
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest

from manyhands.web.static_files import MEDIA_TYPES, static_files

ROOT = Path(__file__).parents[2]
STATIC = ROOT / "src" / "manyhands" / "web" / "static"

SINKS = re.compile(
    r"\b(innerHTML|outerHTML|insertAdjacentHTML|document\.write|createContextualFragment|DOMParser|eval|"
    r"Function\(|setHTMLUnsafe|srcdoc)|\.(src|href)\s*=[^=]|setAttribute\(\s*[\"'](src|href|on)|"
    r"(setTimeout|setInterval)\(\s*[\"'`]"
)
"""What makes code or markup of a text."""


def test_the_modules_have_the_types_that_they_say(tmp_path: Path) -> None:
    program = shutil.which("tsc")
    assert program, "this test needs Debian's node-typescript: tools/system-packages.sh installs it"
    wrong = tmp_path / "wrong.js"
    wrong.write_text("/** @param {string} text */\nexport const wrong = (text) => text.nothing;\n")
    settings = json.loads((Path(__file__).parent / "tsconfig.json").read_text(encoding="utf-8"))
    settings["include"] = [f"{STATIC}/*.js", str(wrong)]
    project = tmp_path / "tsconfig.json"
    project.write_text(json.dumps(settings))
    command = [program, "--project", str(project)]
    finished = subprocess.run(command, capture_output=True, text=True, check=False)
    (complaint,) = finished.stdout.splitlines()
    assert complaint.endswith(
        "wrong.js(2,37): error TS2339: Property 'nothing' does not exist on type 'string'."
    )


@pytest.mark.parametrize("file", sorted(STATIC.glob("*.js")), ids=lambda file: file.name)
def test_no_module_makes_markup_or_code_of_a_text(file: Path) -> None:
    assert not SINKS.search(file.read_text(encoding="utf-8"))


@pytest.mark.parametrize("file", sorted(STATIC.glob("*.js")), ids=lambda file: file.name)
def test_the_lines_of_a_module_can_be_read(file: Path) -> None:
    assert all(len(line) <= 120 for line in file.read_text(encoding="utf-8").splitlines())


def test_the_document_has_neither_scripts_nor_styles_nor_handlers_in_it() -> None:
    document = (STATIC / "index.html").read_text(encoding="utf-8")
    assert re.findall(r"<script[^>]*>", document) == ['<script type="module" src="static/main.js">']
    assert not re.search(r"<style|\sstyle=|\son\w+=|javascript:|https?:", document)


def test_a_browser_that_knows_no_text_for_screen_readers_has_what_is_drawn() -> None:
    style = (STATIC / "style.css").read_text(encoding="utf-8")
    both = re.findall(r"(content: [^;/]+); content: ([^;/]+) / [^;]+;", style)
    assert len(both) == len(re.findall(r"content: [^;]+/", style)) > 0
    assert all(plain == f"content: {told}" for plain, told in both)


def test_every_file_is_served() -> None:
    assert len(static_files()) == len(list(STATIC.iterdir()))
    assert {file.suffix for file in STATIC.iterdir()} == set(MEDIA_TYPES)


def test_the_files_are_in_what_is_installed_and_in_the_sources(tmp_path: Path) -> None:
    tree = tmp_path / "tree"
    shutil.copytree(ROOT / "src", tree / "src", ignore=shutil.ignore_patterns("*.so", "*.egg-info"))
    for name in (
        "setup.py",
        "pyproject.toml",
        "MANIFEST.in",
        "README.md",
        "LICENSE",
        "CHANGELOG.md",
    ):
        shutil.copy(ROOT / name, tree)
    command = [
        sys.executable,
        "setup.py",
        "-q",
        "build_py",
        "--build-lib",
        "lib",
        "sdist",
        "-d",
        ".",
    ]
    finished = subprocess.run(command, cwd=tree, capture_output=True, text=True, check=False)
    assert finished.returncode == 0, finished.stderr
    (source,) = tree.glob("*.tar.gz")
    with tarfile.open(source) as archive:
        in_sources = {Path(name).name for name in archive.getnames() if "/web/static/" in name}
    installed = {file.name for file in (tree / "lib" / "manyhands" / "web" / "static").iterdir()}
    assert installed == in_sources == {file.name for file in STATIC.iterdir()}
