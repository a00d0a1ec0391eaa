"""What `manyhands ctl` prints: JSON for programs, lines for people."""

import json
import sys
from collections.abc import Iterable

from manyhands.model.escaping import escape_json
from manyhands.runtime.error_reports import encoding_of


def print_json(document: object) -> None:
    """Print JSON on one line, which no terminal obeys."""
    text = json.dumps(document, ensure_ascii=False)
    print(escape_json(text, encoding_of(sys.stdout)), flush=True)


def print_lines(lines: Iterable[str]) -> None:
    """Print lines that are safe to print."""
    print("\n".join(lines), flush=True)
