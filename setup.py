"""What is compiled; all else about the package is in pyproject.toml.

It is optional. Where there is no compiler, no header of Python's, or no epoll, the build says so and goes
on. Then the fiber engine runs its plain Python (`manyhands/engines/fibers/plain_poller.py`), and
each worker's frames get fresh memory (`manyhands/runtime/compiled.py`): the same, more slowly.
"""

import atexit
import binascii
import os
import sys
import tempfile
from pathlib import Path

from setuptools import Extension, setup
from setuptools.command.build_ext import build_ext

COMPILED = ("manyhands.engines.fibers._poller", "manyhands.runtime._frame_memory")


class BuildWhatCanBe(build_ext):
    """Compiles each extension by itself, and leaves out those for which that fails."""

    def build_extension(self, extension: Extension) -> None:
        """Compile one, or say why it is not compiled."""
        try:
            super().build_extension(extension)
        # Cython, the compiler, the linker, a full disk: each has exceptions of its own, and none may end an
        # installation that works without what it makes.
        except Exception as problem:  # noqa: BLE001
            self._forget(extension.name)
            self.warn(f"{extension.name} is not compiled, its plain Python runs instead: {problem}")

    def _forget(self, name: str) -> None:
        """Remove what an earlier build made: it would be taken for the half of this one's sources."""
        made = self.get_ext_filename(self.get_ext_fullname(name))
        for folder in (self.build_lib, "src"):
            Path(folder, made).unlink(missing_ok=True)


def extensions() -> list[Extension]:
    """Return what can be compiled here."""
    # Elsewhere there is neither greenlet's C interface nor an allocator of arenas.
    if sys.implementation.name != "cpython":
        return []
    made = [
        # Optional: then setuptools does not miss in the source tree what is not there.
        Extension(name, [f"src/{name.replace('.', '/')}.pyx"], optional=True)
        for name in COMPILED
    ]
    for extension in made:
        extension.cython_c_in_temp = True
        # By which `manyhands/engines/fibers/poller.py` knows one that was left from other sources.
        made_of = binascii.crc32(Path(extension.sources[0]).read_bytes())
        extension.define_macros.append(("MADE_OF", f"{made_of}u"))
    return made


def options() -> dict[str, dict[str, str]]:
    """Say where to build: in the source tree, or in a temporary folder where that cannot be written to."""
    if os.access(".", os.W_OK):
        return {}
    folder = tempfile.TemporaryDirectory()
    atexit.register(folder.cleanup)
    return {
        "egg_info": {"egg_base": folder.name},
        "build": {"build_base": folder.name},
        "bdist_wheel": {"bdist_dir": f"{folder.name}/wheel"},
    }


setup(ext_modules=extensions(), cmdclass={"build_ext": BuildWhatCanBe}, options=options())
