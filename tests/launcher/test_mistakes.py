"""What cannot be run gets one sentence and exit status 2, before anything starts."""

import zipfile
from pathlib import Path

import pytest

from .launch import HOME, RUN, python, write

#: Such an interpreter does not look at PYTHONPATH either.
ISOLATED = f"""
import sys
sys.path.insert(0, {str(HOME)!r})
from manyhands.cli import main
sys.exit(main())
"""

NO_PROGRAM = "say which program to run: manyhands run [options] PROGRAM [args], or -m MODULE [args]"


@pytest.fixture
def programs(tmp_path: Path) -> Path:
    write(tmp_path / "file.py", "print('ran')")
    write(tmp_path / "folder" / "other.py", "")
    write(tmp_path / "package" / "__init__.py", "print('imported')")
    write(tmp_path / "extending" / "__init__.py", "__path__ = ['elsewhere']")
    write(tmp_path / "elsewhere" / "module.py", "print('ran')")
    with zipfile.ZipFile(tmp_path / "zipped", "w") as archive:
        archive.writestr("other.py", "")
    return tmp_path


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (
            [],
            "say which program to run: manyhands run [options] PROGRAM [args], or -m MODULE [args]",
        ),
        (
            ["--"],
            "say which program to run: manyhands run [options] PROGRAM [args], or -m MODULE [args]",
        ),
        (["-m"], "say which module to run: manyhands run [options] -m MODULE [args]"),
        (["missing.py"], "there is no program 'missing.py'"),
        (["--rate-burst", "5", "file.py"], "--rate-burst without --max-rate is of no use"),
        (
            ["--engine", "processes", "--max-threads", "5", "file.py"],
            ("--max-threads is of no use on the engine processes: it is one of the engine threads"),
        ),
        (["x" * 5000], f"there is no program '{'x' * 5000}'"),
        (
            ["http.server", "8000"],
            (
                "there is no program 'http.server'; for the module of that name: "
                "manyhands run -m http.server"
            ),
        ),
        (["folder"], "the folder 'folder' is no program: it has no __main__.py"),
        (["zipped"], "the zip file 'zipped' is no program: it has no __main__.py"),
        (["-m", "missing"], "there is no module 'missing'"),
        (["-m", "package.missing"], "there is no module 'package.missing'"),
        (["-m", "file.missing"], "there is no module 'file.missing'"),
        (["-m", ".file"], "there is no module '.file'"),
        (["-m", "fi le"], "there is no module 'fi le'"),
        (
            ["-m", "file.py"],
            "there is no module 'file.py'; for the file of that name: manyhands run file.py",
        ),
        (
            ["-m", "package"],
            "the module 'package' is a package without __main__, so it cannot be run",
        ),
        (
            ["-m", "folder"],
            "the module 'folder' is a package without __main__, so it cannot be run",
        ),
        (["-m", "sys"], "the module 'sys' is not written in Python, so it cannot be run"),
        (["-m", "_ssl"], "the module '_ssl' is not written in Python, so it cannot be run"),
        (
            ["--max-children", "many", "file.py"],
            "--max-children must be a whole number of at least 1, not 'many'",
        ),
        (
            ["--max-children"],
            "argument --max-children: expected one argument (see python -m manyhands run --help)",
        ),
        (
            ["--drain-timeout=5", "file.py"],
            "--drain-timeout does nothing without --workers: the program ends as it will",
        ),
        (
            ["--max-thr=5", "file.py"],
            (
                "unrecognized arguments: --max-thr=5; did you mean --max-threads? "
                "(see python -m manyhands run --help)"
            ),
        ),
    ],
    ids=lambda value: " ".join(value)[:40] if isinstance(value, list) else "",
)
def test_what_does_not_fit_gets_one_sentence(
    programs: Path, words: list[str], sentence: str
) -> None:
    ours = python(*RUN, *words, cwd=programs)
    assert (ours.status, ours.errors) == (2, f"manyhands: {sentence}\n")
    assert "ran" not in ours.output


@pytest.mark.parametrize("flag", ["-E", "-I", "-S"])
def test_an_interpreter_that_would_not_look_at_us_is_refused(programs: Path, flag: str) -> None:
    ours = python(flag, "-c", ISOLATED, "run", "file.py", cwd=programs)
    assert ours.status == 2
    assert "Python was started with -E, -I or -S" in ours.errors
    assert ours.errors.count("\n") == 1


def test_a_module_of_a_package_that_extends_its_path_is_found(programs: Path) -> None:
    assert python(*RUN, "-m", "extending.module", cwd=programs).output == "ran\n"


def test_checking_a_module_imports_nothing(programs: Path) -> None:
    write(programs / "package" / "module.py", "print('ran')")
    ours = python(*RUN, "-m", "package.module", cwd=programs)
    assert ours.output == "imported\nran\n"
