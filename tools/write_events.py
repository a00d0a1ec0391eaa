"""Write docs/events.md from the classes of the events. A test says when that has not been done."""

import inspect
from dataclasses import fields
from pathlib import Path

from manyhands.model import events
from manyhands.model.events import Event, kinds

PAGE = Path(__file__).parent.parent / "docs" / "events.md"

HEAD = """\
# Events

Written by `tools/write_events.py` from `manyhands/model/events.py`.

For programs that react to events in their servers; a subscriber gets the events of its process:

```python
from manyhands import events

unsubscribe = events.hub.subscribe(print)
```

The set is closed. An event is a frozen dataclass; its text is a sentence. Subscribers are called in the
thread in which it happens, and an exception from one goes to `sys.excepthook`: it stops neither the
server nor the others.
`manyhands.logs` has subscribers for [logs](operations.md), and `Queued` for slow ones.
"""


def page() -> str:
    """Return the text of the page."""
    return HEAD + "".join(_section(kind) for kind in kinds())


def _section(kind: type[Event]) -> str:
    text = inspect.cleandoc(kind.__doc__ or "")
    rows = "".join(f"| `{field.name}` | `{_type(field.type)}` |\n" for field in fields(kind))
    return f"\n## {kind.__name__}\n\nLevel: {kind.level}. {text}\n\n| field | type |\n|---|---|\n{rows}"


def _type(annotation: object) -> str:
    text = annotation if isinstance(annotation, str) else inspect.formatannotation(annotation)
    if getattr(events, getattr(annotation, "__name__", ""), None) is annotation:
        text = f"manyhands.events.{text.rpartition('.')[2]}"
    return text.replace("|", "\\|")


WRITTEN = {PAGE: page}
"""The file, and what makes its text."""

if __name__ == "__main__":
    for file, text in WRITTEN.items():
        file.write_text(text(), encoding="utf-8")
