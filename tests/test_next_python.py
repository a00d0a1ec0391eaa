"""What brings a Python that the machine lacks, where it cannot."""

import os
import subprocess
from pathlib import Path

ROOT = Path(__file__).parents[1]


def bring(cache: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [ROOT / "tools" / "next-python.sh", "3.14"],
        env={**os.environ, "XDG_CACHE_HOME": str(cache), **environment},
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )


def test_a_mirror_that_is_away_is_named_in_a_sentence_and_nothing_stays(tmp_path: Path) -> None:
    done = bring(tmp_path, DEBIAN_MIRROR="http://127.0.0.1:1/debian")
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.splitlines()[-1] == (
        "cannot bring Python 3.14: Debian's packages could not be downloaded from http://127.0.0.1:1/debian"
    )
    assert not list(tmp_path.rglob("python3.14"))


def test_without_debian_s_tools_it_says_which_one_is_missing(tmp_path: Path) -> None:
    (tools := tmp_path / "bin").mkdir()
    for name in ("bash", "env", "dirname", "mkdir", "flock"):
        (tools / name).symlink_to(f"/usr/bin/{name}")
    done = bring(tmp_path, PATH=str(tools))
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == (
        "cannot bring Python 3.14: apt-get is needed for that, and this machine has none\n"
    )
