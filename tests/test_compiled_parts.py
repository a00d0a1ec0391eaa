"""Installing where nothing, or not everything, can be compiled: with real pip, setuptools and compilers."""

import os
import shlex
import shutil
import subprocess
import sys
import textwrap
from collections.abc import Mapping
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]

#: What the package is built of.
SOURCES = ("setup.py", "pyproject.toml", "MANIFEST.in", "README.md", "LICENSE", "CHANGELOG.md")

#: Installs offline, with what the tests are run with.
PIP = [
    sys.executable,
    "-m",
    "pip",
    "install",
    "-q",
    "--no-index",
    "--no-deps",
    "--no-build-isolation",
]

#: Ways in which a machine cannot compile, and what of the environment makes one like it.
WITHOUT = {
    "a compiler that compiles": {"CC": "false"},
    "a compiler": {"CC": "no-such-compiler"},
    "Python's headers": {"CC": "cc -nostdinc"},
    "a linker": {"LDSHARED": "false"},
}

#: Serves a client on each engine, and tells what of the compiled parts it does that with.
PROGRAM = textwrap.dedent(
    """
    import manyhands
    from manyhands.engines.fibers import poller
    from manyhands.runtime import compiled
    from manyhands.testing import ask, serving

    class Echo(manyhands.StreamRequestHandler):
        def handle(self):
            self.wfile.write(self.rfile.readline())

    for engine in ("sequential", "threads", "processes", "fibers"):
        with serving(Echo, engine=engine) as server:
            assert ask(server.address) == b"hello\\n", engine
    is_kept = compiled.keep_frame_memory is not compiled._keep_none
    print(manyhands.__file__, poller.IS_COMPILED, is_kept)
    """
)


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """Copy what is needed to build the package, as it is in a fresh clone."""
    copy = tmp_path / "tree"
    shutil.copytree(ROOT / "src", copy / "src", ignore=shutil.ignore_patterns("*.so", "*.egg-info"))
    for name in SOURCES:
        shutil.copy(ROOT / name, copy)
    return copy


@pytest.fixture
def small_tree(tree: Path) -> Path:
    """A tree whose parts to compile are there, and nothing is in them: ours take seconds."""
    for source in tree.rglob("*.pyx"):
        source.write_text("made_of = MADE_OF\n" if False else "")
    return tree


def build(tree: Path, *words: str, **environment: str) -> str:
    """Let setuptools build in a tree; return what it said."""
    command = [sys.executable, "setup.py", *words]
    # What is compiled here need not be fast, but quickly made.
    return run(command, tree, {"CFLAGS": "-O0", **environment})


def run(command: list[str], folder: Path, environment: Mapping[str, str]) -> str:
    finished = subprocess.run(
        command,
        cwd=folder,
        env={**os.environ, **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=100,
        check=False,
    )
    assert finished.returncode == 0, finished.stdout
    return finished.stdout


def compiled_in(folder: Path) -> set[str]:
    return {path.name.partition(".")[0] for path in folder.rglob("*.so")}


def serves_with(package: Path) -> list[bool]:
    """Have a package serve on each engine; tell whether the poller, and the frame memory, were compiled."""
    # The server of a test runs in a thread, of which the engine processes warns.
    program = [sys.executable, "-W", "ignore", "-c", PROGRAM]
    origin, *compiled = run(program, package, {"PYTHONPATH": str(package)}).split()
    assert Path(origin).is_relative_to(package)
    return [word == "True" for word in compiled]


def test_pip_installs_what_runs_where_there_is_no_compiler(
    small_tree: Path, tmp_path: Path
) -> None:
    target = tmp_path / "installed"
    run([*PIP, f"--target={target}", str(small_tree)], small_tree, {"CC": "false"})
    assert compiled_in(target) == set()
    assert serves_with(target) == [False, False]


def test_pip_installs_from_a_tree_that_it_cannot_write_to(small_tree: Path, tmp_path: Path) -> None:
    target = tmp_path / "installed"
    command = [*PIP, f"--target={target}", str(small_tree)]
    if os.geteuid() == 0:  # to whom the mode of a folder is no obstacle
        mounting = "mount --bind {0} {0} && mount -o remount,ro,bind {0} && exec {1}"
        script = mounting.format(small_tree, shlex.join(command))
        command = ["unshare", "--mount", "sh", "-c", script]
    small_tree.chmod(0o555)
    (small_tree / "src").chmod(0o555)
    run(command, tmp_path, {"CFLAGS": "-O0"})
    assert compiled_in(target) == {"_poller", "_frame_memory"}
    assert not list(small_tree.rglob("*.egg-info"))


def test_where_there_is_a_compiler_both_parts_are_compiled(tree: Path) -> None:
    build(tree, "build", "--build-lib=built")
    assert compiled_in(tree / "built") == {"_poller", "_frame_memory"}
    assert serves_with(tree / "built") == [True, True]


@pytest.mark.parametrize("missing", WITHOUT)
def test_the_build_says_what_it_leaves_out_and_goes_on_without(
    small_tree: Path, missing: str
) -> None:
    said = build(small_tree, "build", "--build-lib=built", **WITHOUT[missing])
    assert compiled_in(small_tree / "built") == set()
    for name in ("manyhands.engines.fibers._poller", "manyhands.runtime._frame_memory"):
        assert f"{name} is not compiled, its plain Python runs instead: " in said
    # What follows is the same for each of them.
    if missing == "a compiler":
        assert serves_with(small_tree / "built") == [False, False]


@pytest.mark.parametrize("broken", ["_poller", "_frame_memory"])
def test_a_part_that_cannot_be_compiled_does_not_keep_the_other_from_it(
    tree: Path, broken: str
) -> None:
    [source] = tree.rglob(f"{broken}.pyx")
    source.write_text("this is no Cython\n")
    build(tree, "build", "--build-lib=built")
    assert compiled_in(tree / "built") == {"_poller", "_frame_memory"} - {broken}
    assert serves_with(tree / "built") == [broken != "_poller", broken != "_frame_memory"]


def test_without_cython_and_greenlet_it_is_built_all_the_same(tree: Path, tmp_path: Path) -> None:
    hidden = tmp_path / "hidden"
    for name in ("Cython", "greenlet"):
        (hidden / name).mkdir(parents=True)
        (hidden / name / "__init__.py").write_text(f"raise ImportError('no {name} here')\n")
    build(tree, "build", "--build-lib=built", PYTHONPATH=str(hidden))
    assert compiled_in(tree / "built") == set()


def test_what_an_earlier_build_made_is_not_left_beside_newer_sources(small_tree: Path) -> None:
    command = ["build_ext", "--inplace", "--build-lib=built"]
    build(small_tree, *command)
    assert (
        compiled_in(small_tree / "built")
        == compiled_in(small_tree / "src")
        == {"_poller", "_frame_memory"}
    )
    for source in small_tree.rglob("*.pyx"):
        source.write_text(f"{source.read_text()}\n")
    build(small_tree, *command, CC="false")
    assert compiled_in(small_tree / "built") == compiled_in(small_tree / "src") == set()


@pytest.mark.parametrize(
    "content",
    [
        "from manyhands.engines.fibers.plain_poller import Channel, Poller; made_of = 12345",
        "raise ValueError('greenlet.greenlet size changed, may indicate binary incompatibility')",
        "raise AttributeError('_C_API')",
    ],
    ids=["of an older version", "for another greenlet", "for another interpreter"],
)
def test_a_compiled_part_that_does_not_fit_is_passed_over(tree: Path, content: str) -> None:
    package = tree / "src" / "manyhands"
    (package / "engines" / "fibers" / "_poller.py").write_text(content)
    (package / "runtime" / "_frame_memory.py").write_text(content)
    assert serves_with(tree / "src") == [False, False]


def test_what_was_compiled_from_other_sources_is_passed_over_until_it_is_compiled_anew(
    tree: Path,
) -> None:
    build(tree, "build_ext", "--inplace")
    [source] = tree.rglob("_poller.pyx")
    source.write_text(f"{source.read_text()}\n# a newer version\n")
    assert serves_with(tree / "src") == [False, True]
    build(tree, "build_ext", "--inplace")
    assert serves_with(tree / "src") == [True, True]


def test_a_compiled_part_that_was_cut_off_is_passed_over(tree: Path) -> None:
    build(tree, "build_ext", "--inplace", CC="false")
    suffix = subprocess.check_output(
        [sys.executable, "-c", "import sysconfig; print(sysconfig.get_config_var('EXT_SUFFIX'))"],
        text=True,
    ).strip()
    package = tree / "src" / "manyhands"
    (package / "engines" / "fibers" / f"_poller{suffix}").write_bytes(b"\x7fELF")
    (package / "runtime" / f"_frame_memory{suffix}").write_bytes(b"")
    assert serves_with(tree / "src") == [False, False]


def make_venv(tree: Path, lock: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Set up an environment from a lock as the Makefile does, but offline."""
    (tree / "lock.txt").write_text(lock)
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", ".venv"], cwd=tree, check=True)
    extra = {
        "CC": "false",
        "PIP_NO_INDEX": "1",
        "PIP_NO_BUILD_ISOLATION": "0",  # which has pip take the option as given (its issue 5735)
        # pip, setuptools and Cython are those of the tests.
        "PYTHONPATH": str(Path(pytest.__file__).parents[1]),
    }
    return subprocess.run(
        [str(ROOT / "tools/make-venv.sh"), ".venv", sys.executable, "lock.txt"],
        cwd=tree,
        env={**os.environ, **extra, **environment},
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )


@pytest.fixture
def lock(tree: Path) -> str:
    """Name what can be installed, and a gevent that wants a compiler which is not there."""
    lines = []
    for name, program in (("rest", "setup()"), ("gevent", "raise SystemExit('no C compiler')")):
        folder = tree / f"a-{name}"
        folder.mkdir()
        (folder / "setup.py").write_text(
            program.replace("setup()", "import setuptools; setuptools.setup(name='rest')")
        )
        lines.append(f"{name} @ file://{folder}\n")
    return "".join([*lines, "greenlet==3.5.6\n", "zope-event==6.2\n"])


def test_the_desk_is_set_up_without_gevent_where_that_cannot_be_installed(
    tree: Path, lock: str
) -> None:
    done = make_venv(tree, lock, MAY_LACK_FIBERS="1")
    assert done.returncode == 0, done.stderr
    assert 'so the engine "fibers" is missing from .venv' in done.stderr
    assert "C compiler" not in done.stderr  # pip's pages about it
    installed = {
        path.name.partition("-")[0] for path in tree.glob(".venv/lib/*/site-packages/*.dist-info")
    }
    assert installed == {"manyhands", "rest"}
    help_ = subprocess.check_output([tree / ".venv/bin/manyhands", "chat", "--help"], text=True)
    assert "fibers where gevent is installed" in " ".join(help_.split())


def test_the_tests_are_not_set_up_without_gevent(tree: Path, lock: str) -> None:
    done = make_venv(tree, lock)
    assert done.returncode != 0
    assert "no C compiler" in done.stderr


def test_where_more_than_gevent_is_missing_pip_says_why(tree: Path, lock: str) -> None:
    shutil.rmtree(tree / "a-rest")
    done = make_venv(tree, lock, MAY_LACK_FIBERS="1")
    assert done.returncode != 0
    assert "a-rest" in done.stderr
    assert not (tree / ".venv/bin/manyhands").exists()
