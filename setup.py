"""What is compiled; all else about the package is in pyproject.toml.

It is optional. Where there is no compiler, no header of Python's, or no epoll, the build says so and goes
on. Then the fiber engine runs its plain Python (`manyhands/engines/fibers/plain_poller.py`), and
each worker's frames get fresh memory (`manyhands/runtime/compiled.py`): the same, more slowly.
"""

from pathlib import Path

import greenlet
from Cython.Build import cythonize
from setuptools import Extension, setup

poller = Extension(
    "manyhands.engines.fibers._poller",
    ["src/manyhands/engines/fibers/_poller.pyx"],
    include_dirs=[str(Path(greenlet.__file__).parents[1])],
    optional=True,
)
frame_memory = Extension(
    "manyhands.runtime._frame_memory",
    ["src/manyhands/runtime/_frame_memory.pyx"],
    optional=True,
)
setup(ext_modules=cythonize([poller, frame_memory], build_dir="build/cython", language_level=3))
