"""The values of limits, as people type and read them."""

import json


def read(text: str) -> object:
    """Return what a word stands for: ``none``, a number, ``yes`` or ``no``, or the word itself."""
    if text.lower() in {"none", ""}:
        return None
    try:
        return json.loads(text, parse_constant=str)
    except ValueError:
        return {"yes": True, "no": False}.get(text.lower(), text)


def written(value: object) -> str:
    """Return a value as `read` takes it."""
    if value is None:
        return "none"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)
