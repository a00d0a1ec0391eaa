"""Development servers that start themselves anew when their code changes: the new process has ours too."""

import http.client
import json
import urllib.request
from pathlib import Path

from tests import in_place
from tests.support.waiting import wait_until

from .conftest import Serving


def _page(port: int) -> dict[str, object]:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/", timeout=10) as response:
            page: dict[str, object] = json.load(response)
            return page
    except (OSError, http.client.HTTPException, json.JSONDecodeError):
        return {}  # between two processes it answers not at all, or in part


def _page_that_says(text: str, port: int, program: Path) -> dict[str, object]:
    page: dict[str, object] = {}

    def is_served() -> bool:
        # Again and again, because a reloader misses a change that comes before its first look.
        program.touch()
        page.update(_page(port))
        return page.get("text") == text

    wait_until(is_served)
    return page


def _serves_old_and_new_code(port: int, program: Path, place: in_place.Place) -> None:
    old = _page_that_says("first", port, program)
    program.write_text(program.read_text().replace("first", "second"))
    new = _page_that_says("second", port, program)

    assert old["process"] != new["process"]
    for page in old, new:
        assert place.is_told_by(frozenset([Path(str(page["served_by"]))]))


def test_flask_serves_the_new_code_after_a_reload(
    serving: Serving, place: in_place.Place, free_port: int, tmp_path: Path
) -> None:
    with serving("flask_app", str(free_port)):
        _serves_old_and_new_code(free_port, tmp_path / "flask_app.py", place)


def test_django_serves_the_new_code_after_a_reload(
    serving: Serving, place: in_place.Place, free_port: int, tmp_path: Path
) -> None:
    with serving("django_site", "runserver", f"127.0.0.1:{free_port}"):
        _serves_old_and_new_code(free_port, tmp_path / "django_site.py", place)
