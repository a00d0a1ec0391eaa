"""What `manyhands` itself has: the drop-in's names and ours, each imported when it is asked for."""

import manyhands
from manyhands import socketserver
from tests.support import python


def test_the_drop_in_s_names_are_ours() -> None:
    assert set(socketserver.__all__) < set(manyhands.__all__)
    for name in socketserver.__all__:
        assert getattr(manyhands, name) is getattr(socketserver, name)


def test_each_public_name_is_there() -> None:
    for name in manyhands.__all__:
        assert getattr(manyhands, name) is not None
        assert name in dir(manyhands)


def test_a_star_import_has_them_all() -> None:
    names: dict[str, object] = {}
    exec("from manyhands import *", names)
    assert set(manyhands.__all__) <= set(names)


def test_only_what_is_asked_for_is_imported() -> None:
    finished = python(
        "-c",
        "import sys, manyhands\n"
        "before = set(sys.modules)\n"
        "assert 'manyhands.socketserver' not in before\n"
        "manyhands.Mistake\n"
        "print(*sorted(set(sys.modules) - before))\n",
    )
    assert finished.stderr == ""
    assert finished.stdout.split() == ["manyhands.model", "manyhands.model.usage_errors"]
