"""What is compiled of a module just written is not kept, so that its next version is not taken for it."""

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from manyhands.workers.fresh_modules import SETTLED, is_settled
from tests.support.programs import environment

IMPORT = "import shop; print(shop.WORD, end='')"

CAREFUL = f"""
from manyhands.workers import fresh_modules
fresh_modules.keep_none_of_fresh_modules()
{IMPORT}
"""


def _word(folder: Path, program: str) -> str:
    ran = subprocess.run(
        [sys.executable, "-c", program],
        cwd=folder,
        env=environment(),
        capture_output=True,
        text=True,
        check=True,
    )
    return ran.stdout


def _write(folder: Path, word: str, at: float) -> None:
    module = folder / "shop.py"
    module.write_text(f"WORD = {word!r}\n")
    os.utime(module, (at, at))


def test_the_second_version_of_one_second_is_seen(tmp_path: Path) -> None:
    now = time.time()
    _write(tmp_path, "one", now)
    assert _word(tmp_path, CAREFUL) == "one"
    _write(tmp_path, "two", now)
    assert _word(tmp_path, CAREFUL) == "two"


def test_what_was_written_long_ago_is_compiled_once(tmp_path: Path) -> None:
    _write(tmp_path, "one", time.time() - 60)
    assert _word(tmp_path, CAREFUL) == "one"
    assert list((tmp_path / "__pycache__").glob("shop.*.pyc"))


@pytest.mark.parametrize("seconds", [SETTLED - 0.5, 0, -60])
def test_a_file_of_just_now_or_of_a_time_to_come_is_not_settled(
    seconds: float, tmp_path: Path
) -> None:
    _write(tmp_path, "one", time.time() - seconds)
    assert not is_settled(str(tmp_path / "shop.py"))


def test_a_file_that_has_gone_is_not_settled(tmp_path: Path) -> None:
    assert not is_settled(str(tmp_path / "shop.py"))
