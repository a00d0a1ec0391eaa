"""Which files are a program's own, and when what has changed of them is told: rules, on an injected clock."""

import importlib.util
import json
import subprocess
import sys
from itertools import pairwise
from pathlib import Path
from types import ModuleType

import pytest

from manyhands.workers.program_files import (
    LONGEST,
    PATIENCE,
    QUIET,
    Changes,
    Look,
    is_source,
    look_at,
    program_files,
)


def module(file: object) -> ModuleType:
    made = ModuleType("made")
    made.__dict__["__file__"] = file
    return made


def test_a_program_s_files_are_the_folders_of_its_modules_and_what_is_not_python() -> None:
    modules = {
        "shop": module("/srv/shop/__init__.py"),
        "shop.till": module("/srv/shop/till.py"),
        "shop.web.pages": module("/srv/shop/web/pages.py"),
        "fast": module("/srv/fast.so"),
        "json": module("/usr/lib/python3/json/__init__.py"),
        "attr": module("/srv/venv/site-packages/attr/__init__.py"),
    }
    elsewhere = ["/usr/lib/python3", "/srv/venv/site-packages/"]
    assert program_files(modules, elsewhere) == {"/srv/shop", "/srv/shop/web", "/srv/fast.so"}


def test_a_folder_whose_name_only_begins_like_one_elsewhere_is_the_program_s() -> None:
    assert program_files({"a": module("/lib/python3-app/a.py")}, ["/lib/python3"]) == {
        "/lib/python3-app"
    }


class _Slots:
    __slots__ = ()


def test_what_has_no_file_is_left_out_whatever_it_is() -> None:
    modules: dict[str, object] = {
        "built in": sys,
        "a folder": module(None),
        "a path": module(Path("/a/b.py")),
        "removed": None,
        "a number": 3,
        "without attributes": _Slots(),
        "empty": module(""),
    }
    assert program_files(modules, []) == set()


def test_to_ask_a_lazy_module_for_its_file_does_not_load_it(tmp_path: Path) -> None:
    (tmp_path / "late.py").write_text("raise SystemExit('loaded')")
    spec = importlib.util.spec_from_file_location("late", tmp_path / "late.py")
    assert spec is not None
    assert spec.loader is not None
    spec.loader = importlib.util.LazyLoader(spec.loader)
    late = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(late)
    assert program_files({"late": late}, []) == {str(tmp_path)}


def test_of_a_program_that_runs_neither_python_s_files_nor_ours_are_its_own(tmp_path: Path) -> None:
    (tmp_path / "pkg").mkdir()
    (tmp_path / "pkg" / "__init__.py").touch()
    (tmp_path / "shop.py").write_text("import json, logging, pkg, pytest, manyhands.socketserver")
    program = (
        "import json, sys, shop\n"
        "from manyhands.workers.program_files import program_files\n"
        "print(json.dumps(sorted(program_files(sys.modules))))"
    )
    told = subprocess.run(
        [sys.executable, "-c", program],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    assert json.loads(told.stdout) == [str(tmp_path), str(tmp_path / "pkg")]


@pytest.mark.parametrize(
    ("name", "is_one"),
    [
        ("shop.py", True),
        ("_shop.py", True),
        ("shop.pyc", False),
        ("shop.py~", False),
        (".shop.py.swp", False),
        (".#shop.py", False),
        ("flycheck_shop.py", False),
        ("4913", False),
        ("server.log", False),
    ],
)
def test_what_editors_put_beside_a_module_is_none(name: str, is_one: bool) -> None:
    assert is_source(name) is is_one


def test_a_look_has_the_modules_of_folders_and_the_files_that_are_named(tmp_path: Path) -> None:
    for name in ("shop.py", "notes.txt", "settings.toml", ".#shop.py", "below/deep.py"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("x")
    (tmp_path / "lost.py").symlink_to(tmp_path / "nowhere")
    paths = {str(tmp_path), str(tmp_path / "settings.toml"), str(tmp_path / "missing.toml")}
    assert set(look_at(paths)) == {str(tmp_path / "shop.py"), str(tmp_path / "settings.toml")}
    assert look_at(paths) == look_at(paths)


def test_each_way_to_write_a_file_shows(tmp_path: Path) -> None:
    file = tmp_path / "shop.py"
    file.write_text("1")
    looks = [look_at({str(tmp_path)})]
    file.write_text("12")
    looks.append(look_at({str(tmp_path)}))
    (tmp_path / "new").write_text("34")
    (tmp_path / "new").rename(file)
    looks.append(look_at({str(tmp_path)}))
    file.unlink()
    looks.append(look_at({str(tmp_path)}))
    assert all(before != after for before, after in pairwise(looks))


def look(**sizes: int) -> Look:
    return {f"/p/{name}.py": (1, size, 0) for name, size in sizes.items()}


@pytest.fixture
def changes() -> Changes:
    return Changes({"/p"}, look(a=1, b=1))


def test_without_a_change_nothing_is_told(changes: Changes) -> None:
    assert changes.see(look(a=1, b=1), 0) == []
    assert changes.see(look(a=1, b=1), 99) == []
    assert not changes.are_pending


def test_changes_that_follow_one_another_are_told_once(changes: Changes) -> None:
    assert changes.see(look(a=2, b=1), 5.0) == []
    assert changes.see(look(a=2, b=2), 5.0 + 0.9 * QUIET) == []
    assert changes.see(look(a=2, b=2, c=1), 5.0 + 1.8 * QUIET) == []
    assert changes.are_pending
    told = changes.see(look(a=2, b=2, c=1), 5.0 + 3 * QUIET)
    assert told == ["/p/a.py", "/p/b.py", "/p/c.py"]
    assert changes.see(look(a=2, b=2, c=1), 99) == []
    assert not changes.are_pending


def test_a_file_that_is_missing_for_a_moment_is_told_with_what_replaces_it(
    changes: Changes,
) -> None:
    assert changes.see(look(b=1), 5.0) == []
    assert changes.see(look(b=1), 5.0 + 0.9 * PATIENCE) == []
    assert changes.see(look(a=2, b=1), 5.0 + 0.9 * PATIENCE) == []
    assert changes.see(look(a=2, b=1), 5.1 + 0.9 * PATIENCE + 2 * QUIET) == ["/p/a.py"]


def test_a_file_that_stays_away_is_told(changes: Changes) -> None:
    assert changes.see(look(b=1), 5.0) == []
    assert changes.see(look(b=1), 5.1 + PATIENCE) == ["/p/a.py"]


def test_what_is_as_it_was_again_has_not_changed(changes: Changes) -> None:
    assert changes.see(look(b=1), 5.0) == []
    assert changes.see(look(a=1, b=1), 5.1) == []
    assert not changes.are_pending
    assert changes.see(look(a=1, b=1), 99) == []


def test_what_changes_without_end_is_told_after_a_while(changes: Changes) -> None:
    now, size, told = 100.0, 1, []
    while not told:
        size += 1
        told = changes.see(look(a=size, b=1), now)
        now += QUIET / 2
    assert told == ["/p/a.py"]
    assert LONGEST <= now - 100.0 < LONGEST + 1


def test_with_other_paths_what_has_changed_at_those_that_stay_is_told() -> None:
    there = {"/p/a.py": (1, 1, 0), "/q/b.py": (1, 1, 0), "/r.toml": (1, 1, 0)}
    changes = Changes({"/p", "/q", "/r.toml"}, there)
    # Before the program has told of other paths, /p/a.py and /r.toml have changed, and /p has one more.
    now = {"/p/a.py": (1, 2, 0), "/p/new.py": (1, 1, 0), "/r.toml": (1, 2, 0), "/s/c.py": (1, 7, 0)}
    changes.follow({"/p", "/r.toml", "/s"}, now)
    assert not changes.are_pending
    assert changes.see(now, 5.0) == []
    assert changes.see(now, 5.0 + 2 * QUIET) == ["/p/a.py", "/p/new.py", "/r.toml"]
    assert changes.see({**now, "/s/c.py": (1, 8, 0)}, 9.0) == []
    assert changes.see({**now, "/s/c.py": (1, 8, 0)}, 9.0 + 2 * QUIET) == ["/s/c.py"]
