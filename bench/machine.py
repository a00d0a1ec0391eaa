"""What the figures were measured on."""

import os
import platform
import re
import subprocess
from pathlib import Path

from bench.build import compiler
from bench.contestants import CONTESTANTS, python_version
from bench.processes import Cores


def machine(cores: Cores) -> dict[str, str]:
    """Name the processor, its cores, the system and the versions."""
    return {
        "processor": _processor(),
        "cores": f"{os.cpu_count()}; the server on core {cores.server}, the load on core {cores.load}",
        "memory": _memory(),
        "system": f"{platform.system()} {platform.release()}",
        "Python": python_version(),
        "C compiler": _first_line(compiler(), "--version"),
    }


def versions(contestants: list[str]) -> dict[str, str]:
    """Name what each contestant is made of."""
    return {
        CONTESTANTS[name].title: version
        for name in contestants
        if (version := CONTESTANTS[name].version())
    }


def _processor() -> str:
    names = re.findall(r"^model name\s*: (.*)$", Path("/proc/cpuinfo").read_text(), re.MULTILINE)
    return names[0] if names else platform.machine()


def _memory() -> str:
    [kilobytes] = re.findall(
        r"^MemTotal:\s*(\d+) kB$", Path("/proc/meminfo").read_text(), re.MULTILINE
    )
    return f"{int(kilobytes) / 2**20:.0f} GiB"


def _first_line(*command: str) -> str:
    return subprocess.check_output(command, text=True, timeout=20).splitlines()[0]
