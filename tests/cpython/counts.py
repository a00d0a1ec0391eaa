"""How many of CPython's own tests run and how many are skipped, per version."""

import os
import platform
import re
from collections.abc import Mapping
from typing import NamedTuple, Self


class Counts(NamedTuple):
    """What a suite's last lines say."""

    run: int
    skipped: int
    failed: int = 0

    @classmethod
    def read(cls, output: str) -> Self:
        """Read the summary of `python -m test -v`, which is unittest's; without one, all has failed."""
        run = re.findall(r"^Ran (\d+) tests? in", output, re.MULTILINE)
        verdicts = re.findall(r"^(?:OK|FAILED)\b.*$", output, re.MULTILINE)
        if not run or not verdicts:
            return cls(0, 0, 1)
        numbers = {word: int(count) for word, count in re.findall(r"(\w+)=(\d+)", verdicts[-1])}
        failed = numbers.get("failures", 0) + numbers.get("errors", 0)
        return cls(int(run[-1]), numbers.get("skipped", 0), failed)

    def without(self, cases: int) -> Self:
        return self._replace(run=self.run - cases)

    def __str__(self) -> str:
        return f"{self.run}/{self.skipped}" + (f" ({self.failed} failed)" if self.failed else "")


#: The tests of the CGI handler, which CPython skips for root (its issue 13308).
_CGI_TESTS = 14

#: Measured on the plain standard library with `-u network,cpu,walltime`, as root on Linux.
_AS_ROOT: Mapping[str, Mapping[str, Counts]] = {
    "3.11.7": {
        "test_socketserver": Counts(27, 0),
        "test_httpservers": Counts(76, _CGI_TESTS),
        "test_xmlrpc": Counts(93, 0),
        "test_wsgiref": Counts(35, 0),
        "test_logging": Counts(220, 1),
    },
    "3.12.1": {
        "test_socketserver": Counts(27, 0),
        # The unittest of 3.12.0 and 3.12.1 does not count as run what setUp skipped.
        "test_httpservers": Counts(62, _CGI_TESTS),
        "test_xmlrpc": Counts(93, 0),
        "test_wsgiref": Counts(35, 0),
        "test_logging": Counts(230, 1),
    },
    "3.13.0": {
        "test_socketserver": Counts(27, 0),
        "test_httpservers": Counts(76, _CGI_TESTS),
        "test_xmlrpc": Counts(93, 0),
        "test_wsgiref": Counts(35, 0),
        "test_logging": Counts(263, 2),
    },
}


def in_the_table(module: str) -> Counts | None:
    """Look up what was measured for this very version and kind of user; other versions have other tests."""
    counts = _AS_ROOT.get(platform.python_version(), {}).get(module)
    if counts is None or os.geteuid() == 0 or module != "test_httpservers":
        return counts
    return Counts(76, counts.skipped - _CGI_TESTS)
