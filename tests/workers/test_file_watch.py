"""Watching real files: one call for what changes together, whatever an editor does, and a prompt end."""

import shutil
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from manyhands.model.usage_errors import MissingExtra
from manyhands.runtime.unpatched import native_thread_names
from manyhands.workers import file_watch, program_files
from manyhands.workers.file_watch import FileWatch
from tests.support import wait_until

FOR_EVER = 3600.0


class Told:
    """What a watch has told, call by call, as names of files."""

    def __init__(self) -> None:
        self.calls: list[set[str]] = []
        self.then: Callable[[], object] = lambda: None

    def __call__(self, changed: list[str]) -> None:
        self.then()
        self.calls.append({Path(each).name for each in changed})

    def wait(self, *calls: set[str]) -> None:
        """Wait for so many calls; they must be these."""
        wait_until(lambda: len(self.calls) >= len(calls))
        assert self.calls == list(calls)


@contextmanager
def watching(told: Told, *paths: Path) -> Iterator[FileWatch]:
    watch = FileWatch([str(path) for path in paths], told)
    watch.start()
    try:
        yield watch
    finally:
        watch.stop()


@pytest.fixture
def told() -> Told:
    return Told()


@pytest.fixture
def slow_editor(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have a watch take for one change what a test does on a machine that is busy with others."""
    monkeypatch.setattr(program_files, "QUIET", 0.5)
    monkeypatch.setattr(program_files, "PATIENCE", 20.0)


@pytest.fixture
def only_told(monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    """Return what has a watch look at the disk only when the kernel has told it of a change."""
    return lambda: monkeypatch.setattr(file_watch, "_REST", FOR_EVER)


@pytest.fixture
def program(tmp_path: Path) -> Path:
    folder = tmp_path / "program"
    folder.mkdir()
    (folder / "shop.py").write_text("version = 1")
    (folder / "settings.toml").write_text("a = 1")
    return folder


def end(told: Told, program: Path, *calls: set[str]) -> None:
    """Change one more file, and wait for it: what was told before it must be these calls."""
    told.wait(*calls)
    (program / "last.py").write_text("")
    told.wait(*calls, {"last.py"})


def test_a_module_that_is_written_is_told(told: Told, program: Path) -> None:
    with watching(told, program):
        (program / "shop.py").write_text("version = 2")
        told.wait({"shop.py"})
        (program / "new.py").write_text("")
        told.wait({"shop.py"}, {"new.py"})
        (program / "shop.py").unlink()
        told.wait({"shop.py"}, {"new.py"}, {"shop.py"})


def test_a_change_right_after_the_start_is_not_missed(told: Told, program: Path) -> None:
    watch = FileWatch([str(program)], told)
    (program / "shop.py").write_text("version = 1.5")  # before: the program will read it
    watch.start()
    (program / "new.py").write_text("")
    try:
        told.wait({"new.py"})
    finally:
        watch.stop()


@pytest.mark.usefixtures("slow_editor")
def test_a_burst_of_changes_is_one_call(told: Told, program: Path) -> None:
    names = {f"module_{number}.py" for number in range(200)}
    with watching(told, program):
        for name in names:
            (program / name).write_text("x")
            (program / name).write_text("xy")
        end(told, program, names)


@pytest.mark.usefixtures("slow_editor")
def test_an_editor_that_replaces_the_file_by_a_rename_is_one_call(
    told: Told, program: Path
) -> None:
    with watching(told, program):
        for round_ in range(3):
            # As vim does: the old file is a backup, until the new one is whole.
            (program / "4913").write_text("")
            (program / "4913").unlink()
            (program / "shop.py").rename(program / "shop.py~")
            (program / "shop.py").write_text(f"version = {round_}")
            (program / "shop.py~").unlink()
            told.wait(*[{"shop.py"}] * (round_ + 1))
        (program / ".#shop.py").symlink_to("somebody@somewhere.1")
        (program / ".shop.py.swp").write_text("x")
        end(told, program, *[{"shop.py"}] * 3)


@pytest.mark.usefixtures("slow_editor")
def test_a_folder_that_is_removed_and_made_anew_is_one_call_and_watched_on(
    told: Told, program: Path, only_told: Callable[[], None]
) -> None:
    told.then = only_told
    with watching(told, program):
        for round_ in range(2):
            shutil.rmtree(program)
            program.mkdir()
            (program / "shop.py").write_text(f"version = {round_}")
            told.wait(*[{"shop.py"}] * (round_ + 1))
        end(told, program, {"shop.py"}, {"shop.py"})


def test_a_folder_that_another_one_takes_the_place_of_is_watched_on(
    told: Told, program: Path, tmp_path: Path, only_told: Callable[[], None]
) -> None:
    releases = [tmp_path / "release_1", tmp_path / "release_2"]
    for release in releases:
        shutil.copytree(program, release)
    current = tmp_path / "current"
    current.symlink_to(releases[0])
    with watching(told, current):
        (current / "shop.py").write_text("version = 22")
        told.wait({"shop.py"})
        # It has looked at the disk by the next call: the kernel tells of no link that leads elsewhere.
        told.then = only_told
        (tmp_path / "next").symlink_to(releases[1])
        (tmp_path / "next").rename(current)
        told.wait({"shop.py"}, {"shop.py"})
        end(told, current, {"shop.py"}, {"shop.py"})


def test_the_folder_of_a_file_is_watched_on_when_another_one_takes_its_place(
    told: Told, program: Path, tmp_path: Path, only_told: Callable[[], None]
) -> None:
    settings, made = program / "settings", tmp_path / "made"
    settings.mkdir()
    made.mkdir()
    (made / "a.toml").write_text("a = 1")
    told.then = only_told
    with watching(told, settings / "a.toml", program / "shop.py"):
        (program / "shop.py").write_text("version = 22")
        told.wait({"shop.py"})
        made.rename(settings)
        told.wait({"shop.py"}, {"a.toml"})
        (settings / "a.toml").write_text("a = 22")
        told.wait({"shop.py"}, {"a.toml"}, {"a.toml"})


@pytest.mark.usefixtures("slow_editor")
def test_a_folder_that_is_not_there_is_watched_for(told: Told, program: Path) -> None:
    with watching(told, program / "later" / "still", program / "later" / "settings.toml"):
        (program / "later" / "still").mkdir(parents=True)
        (program / "later" / "still" / "deep.py").write_text("")
        told.wait({"deep.py"})
        (program / "later" / "settings.toml").write_text("a = 1")
        told.wait({"deep.py"}, {"settings.toml"})


@pytest.mark.usefixtures("slow_editor")
def test_of_other_files_only_those_that_are_named_matter(told: Told, program: Path) -> None:
    with watching(told, program, program / "settings.toml"):
        (program / "notes.txt").write_text("x")
        (program / "__pycache__").mkdir()
        (program / "__pycache__" / "shop.cpython-313.pyc").write_text("x")
        (program / "settings.toml").write_text("a = 22")
        told.wait({"settings.toml"})
        (program / "settings.toml").unlink()
        (program / "settings.toml").write_text("a = 333")
        end(told, program, {"settings.toml"}, {"settings.toml"})


def test_a_log_that_is_written_all_the_time_does_not_hide_a_new_folder(
    told: Told, program: Path
) -> None:
    later = program / "later"
    with watching(told, program, later), (program / "server.log").open("w") as log:

        def has_told() -> bool:
            log.write("a request\n")
            log.flush()
            return bool(told.calls)

        later.mkdir()
        (later / "deep.py").write_text("")
        wait_until(has_told)
    assert told.calls == [{"deep.py"}]


def test_other_paths_are_watched_at_once_and_what_has_changed_meanwhile_is_told(
    program: Path, tmp_path: Path
) -> None:
    other = tmp_path / "other"
    other.mkdir()
    (other / "old.py").write_text("")
    told = Told()

    def reload(changed: list[str]) -> None:
        told(changed)
        if len(told.calls) == 1:
            # While the program is imported anew somebody goes on writing.
            (program / "shop.py").write_text("version = 333")
            (other / "old.py").write_text("this is imported")
            watch.watch([str(program), str(other)])

    watch = FileWatch([str(program)], reload)
    watch.start()
    try:
        (program / "shop.py").write_text("version = 22")
        told.wait({"shop.py"}, {"shop.py"})
        (other / "new.py").write_text("")
        told.wait({"shop.py"}, {"shop.py"}, {"new.py"})
        watch.watch([str(other)])
        (program / "shop.py").write_text("version = 4444")
        (other / "last.py").write_text("")
        told.wait({"shop.py"}, {"shop.py"}, {"new.py"}, {"last.py"})
    finally:
        watch.stop()


def test_nothing_to_watch_is_no_mistake(told: Told, program: Path) -> None:
    with watching(told) as watch:
        watch.watch([str(program)])
        end(told, program)


def test_what_a_call_raises_is_reported_and_the_watch_goes_on(
    program: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    told = Told()

    def fail(changed: list[str]) -> None:
        told(changed)
        if len(told.calls) == 1:
            raise ZeroDivisionError("of this test")

    watch = FileWatch([str(program)], fail)
    watch.start()
    try:
        (program / "shop.py").write_text("version = 22")
        told.wait({"shop.py"})
        end(told, program, {"shop.py"})
    finally:
        watch.stop()
    assert "ZeroDivisionError: of this test" in capfd.readouterr().err


def test_files_are_watched_where_the_kernel_tells_nothing(
    told: Told,
    program: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    def no_watch_left(*paths: str, **options: object) -> None:
        raise OSError("OS file watch limit reached.")

    monkeypatch.setattr("watchfiles.watch", no_watch_left)
    with watching(told, program):
        (program / "shop.py").write_text("version = 22")
        end(told, program, {"shop.py"})
    assert capfd.readouterr().err == ""


def is_running() -> bool:
    return "manyhands-file-watch" in native_thread_names().values()


def test_a_watch_stops_at_once_and_tells_nothing_afterwards(told: Told, program: Path) -> None:
    with watching(told, program) as watch:
        wait_until(is_running)
        began = time.monotonic()
        watch.stop()
        assert time.monotonic() - began < file_watch.STOP_TIMEOUT / 2
        wait_until(lambda: not is_running())
        (program / "shop.py").write_text("version = 22")
    watch.start()  # it stays stopped
    wait_until(lambda: not is_running())
    assert told.calls == []


def test_a_watch_may_be_stopped_by_the_call_itself(program: Path) -> None:
    has_returned = threading.Event()

    def stop(changed: list[str]) -> None:
        watch.stop()
        has_returned.set()

    watch = FileWatch([str(program)], stop)
    watch.start()
    began = time.monotonic()
    (program / "shop.py").write_text("version = 22")
    assert has_returned.wait(20)
    assert time.monotonic() - began < file_watch.STOP_TIMEOUT
    wait_until(lambda: not is_running())


def test_without_the_extra_there_is_one_sentence(
    told: Told, program: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "watchfiles", None)
    with pytest.raises(
        MissingExtra, match=r"^--reload needs watchfiles, which is not here: pip inst"
    ):
        FileWatch([str(program)], told)
