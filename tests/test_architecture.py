"""The house stands as docs/architecture.md draws it: each floor knows only those below it.

What modules import, and which attributes they use, is read from the source. So an import within a function
counts, and one that only type checkers see: a reader of the file has to know the other one all the same.
"""

import ast
import importlib.util
from collections import defaultdict
from collections.abc import Callable, Iterator
from graphlib import CycleError, TopologicalSorter
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

import pytest

ROOT = Path(__file__).parent.parent

FLOORS = (
    ("_version", "runtime"),
    ("model",),
    ("protocol",),
    ("config",),
    ("admission", "exchange"),
    ("listening", "logs"),
    ("engines", "poll_server"),
    ("connections",),
    ("dealing",),
    ("serving",),
    ("dropin",),
    ("socketserver", "proxy", "framing"),
    ("installation",),
    ("http",),
    ("hub", "metrics", "workers"),
    ("control", "supervisor"),
    ("server",),
    ("launcher", "web"),
    ("console", "desk"),
    ("cli", "testing"),
    ("__main__", "__init__"),
)
"""The rooms from the ground up, packages and single modules. Those of one floor do not know each other."""

FLOOR_OF = {room: floor for floor, rooms in enumerate(FLOORS) for room in rooms}

CONTRACTS = {
    "_BaseServer__shutdown_request": "the standard library's own name, which programs write",
    "_engine_choice": "how a server class chooses its engine: no name that a program may have for itself",
    "_handle_request_noblock": "a hook, which programs override as they do with the standard library's",
    "_threads": "where the standard library's mix-in has its threads",
    "_server_core": "where a server has its core: among its own attributes, which programs fill as well",
    "_accept": "what `accept` of the standard library's sockets calls",
    "_sock": "where gevent's sockets have the system's",
}
"""Private names of ours that are used in other rooms, since others than we have made them what they are."""

LOOK_UPS = {"attrgetter", "delattr", "getattr", "hasattr", "methodcaller", "setattr"}
"""What uses an attribute whose name it is given as a text."""


class Import(NamedTuple):
    """One module's import of another."""

    importer: str
    imported: str
    place: str


class Use(NamedTuple):
    """The use of a private name of an object that is not the user's own."""

    name: str
    room: str
    place: str


class House:
    """What the modules of a package import, and which private names they define and use."""

    def __init__(self, package: Path) -> None:
        self._modules = {_module_of(file, package): file for file in package.rglob("*.py")}
        self.imports: list[Import] = []
        self.uses: list[Use] = []
        self.homes: defaultdict[str, set[str]] = defaultdict(set)
        """The rooms that define each private name."""

        for module, file in self._modules.items():
            self._read(module, file, file.relative_to(package.parent.parent))

    def _read(self, module: str, file: Path, shown: Path) -> None:
        package = module if file.stem == "__init__" else module.rpartition(".")[0]
        room = room_of(module)
        for node in ast.walk(ast.parse(file.read_bytes())):
            place = f"{shown}:{getattr(node, 'lineno', 0)}"
            for imported, name in _imported(node, package):
                known = f"{imported}.{name}" if f"{imported}.{name}" in self._modules else imported
                if known in self._modules:
                    self.imports.append(Import(module, known, place))
                if known == imported and _is_private(name):
                    self.uses.append(Use(name, room, place))
            for name in filter(_is_private, _defined(node)):
                self.homes[name].add(room)
            for name in filter(_is_private, _used(node)):
                self.uses.append(Use(name, room, place))


def _module_of(file: Path, package: Path) -> str:
    parts = file.relative_to(package.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def room_of(module: str) -> str:
    """Return the room that a module is in; of the package itself `__init__`."""
    return [*module.split("."), "__init__"][1]


def _is_private(name: str) -> bool:
    return name.startswith("_") and not name.startswith("__") and name != "_"


def _imported(node: ast.AST, package: str) -> Iterator[tuple[str, str]]:
    """Yield what is imported: a module, and the name that is taken from it, or none."""
    if isinstance(node, ast.Import):
        yield from ((alias.name, "") for alias in node.names)
    elif isinstance(node, ast.ImportFrom):
        base = importlib.util.resolve_name("." * node.level + (node.module or ""), package)
        yield from ((base, alias.name) for alias in node.names)


def _defined(node: ast.AST) -> Iterator[str]:
    if isinstance(node, ast.FunctionDef | ast.ClassDef):
        yield node.name
    elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
        yield node.id
    elif isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store) and _is_own(node):
        yield node.attr


def _used(node: ast.AST) -> Iterator[str]:
    # Of `self` too: what a class has from a base in another room is that room's.
    if isinstance(node, ast.Attribute):
        yield node.attr
    elif (
        isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in LOOK_UPS
    ):
        yield from _texts(node.args)
    elif isinstance(node, ast.Assign):
        # A constant by which an attribute is looked up.
        yield from _texts([node.value])


def _texts(nodes: list[ast.expr]) -> Iterator[str]:
    texts = (node.value for node in nodes if isinstance(node, ast.Constant))
    yield from (text for text in texts if isinstance(text, str) and text.isidentifier())


def _is_own(node: ast.Attribute) -> bool:
    owner = node.value
    if isinstance(owner, ast.Call):
        owner = owner.func
    return isinstance(owner, ast.Name) and owner.id in {"self", "cls", "super"}


def circles(house: House) -> Iterator[str]:
    """Describe the first circle that is found."""
    graph: defaultdict[str, set[str]] = defaultdict(set)
    for importer, imported, _ in house.imports:
        graph[importer].add(imported)
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        around = list(reversed(error.args[1]))
        for importer, imported in pairwise(around):
            place = next(each.place for each in house.imports if each[:2] == (importer, imported))
            yield (
                f"{place}: {importer} imports {imported}, one step of a circle: modules that need "
                "each other are one thing, or have one below them in common"
            )


def arrows_upward(house: House) -> Iterator[str]:
    """Describe the imports of rooms that are not below."""
    for importer, imported, place in house.imports:
        room, other = room_of(importer), room_of(imported)
        if room not in FLOOR_OF or other not in FLOOR_OF:
            yield f"{place}: {importer} imports {imported}: each room has its floor in FLOORS"
        elif room != other and FLOOR_OF[other] >= FLOOR_OF[room]:
            yield (
                f"{place}: {importer} imports {imported}, but {other} is not below {room}: a room "
                "knows only the floors below its own (docs/architecture.md)"
            )


def uses_across_rooms(house: House) -> Iterator[Use]:
    """Find the private names of ours that are used in a room which does not define them."""
    for use in house.uses:
        if use.name in house.homes and use.room not in house.homes[use.name]:
            yield use


def private_uses(house: House) -> Iterator[str]:
    """Describe them, but for those in `CONTRACTS`."""
    for name, room, place in uses_across_rooms(house):
        if name not in CONTRACTS:
            homes = " and ".join(sorted(house.homes[name]))
            yield (
                f"{place}: {room} uses {name}, which is private to {homes}: what two rooms share "
                "has a public name"
            )


@pytest.fixture(scope="module")
def house() -> House:
    """The library's source."""
    return House(ROOT / "src" / "manyhands")


def test_modules_do_not_import_each_other_in_a_circle(house: House) -> None:
    assert not (told := "\n".join(circles(house))), told


def test_a_room_knows_only_the_floors_below_it(house: House) -> None:
    assert not (told := "\n".join(arrows_upward(house))), told


def test_no_room_uses_what_is_private_to_another(house: House) -> None:
    assert not (told := "\n".join(private_uses(house))), told


def test_the_names_that_are_excepted_are_in_use(house: House) -> None:
    assert set(CONTRACTS) <= {use.name for use in uses_across_rooms(house)}


A_CIRCLE = {
    "runtime/one.py": "def f():\n    from manyhands.runtime import other\n",
    "runtime/other.py": "TYPE_CHECKING = False\nif TYPE_CHECKING:\n    import manyhands.runtime.one\n",
}

AN_ARROW_UPWARD = {
    "runtime/low.py": "def f():\n    from manyhands.server.high import g\n",
    "server/high.py": "g = 1\n",
}

PRIVATE_USES = {
    "model/owner.py": "class Owner:\n    def __init__(self):\n        self._kept = self._own = 1\n",
    "server/user.py": "def f(owner, os):\n    os._exit(owner._kept)\n",
    "server/texts.py": "def f(owner):\n    return getattr(owner, '_own')\n",
    "server/constant.py": "NAME = '_own'\ndef f(owner):\n    return getattr(owner, NAME)\n",
    "server/heir.py": "class Heir(Owner):\n    def f(self):\n        return self._kept\n",
    "logs/user.py": "class User:\n    _kept = 2\n    def f(self, user):\n        return user._kept\n",
}


_OF_PRIVATE_USES = {
    "server/user.py:2",
    "server/texts.py:2",
    "server/constant.py:1",
    "server/heir.py:3",
}


@pytest.mark.parametrize(
    ("rule", "files", "places"),
    [
        (circles, A_CIRCLE, {"runtime/one.py:2", "runtime/other.py:3"}),
        (arrows_upward, AN_ARROW_UPWARD, {"runtime/low.py:2"}),
        (private_uses, PRIVATE_USES, _OF_PRIVATE_USES),
    ],
)
def test_a_file_that_breaks_a_rule_is_named_with_its_line(
    rule: Callable[[House], Iterator[str]], files: dict[str, str], places: set[str], tmp_path: Path
) -> None:
    package = tmp_path / "src" / "manyhands"
    for name, text in files.items():
        file = package / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text, encoding="utf-8")
    found = {said.partition(": ")[0] for said in rule(House(package))}
    assert found == {f"src/manyhands/{place}" for place in places}
