"""The compiled half of the fiber engine; all else about the package is in pyproject.toml.

It is optional. Where there is no compiler, no header of Python's, or no epoll, the build says so and goes
on, and the fiber engine runs its plain Python (`manyhands/engines/fibers/poller.py`): the same, more slowly.
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
setup(ext_modules=cythonize([poller], build_dir="build/cython", language_level=3))
