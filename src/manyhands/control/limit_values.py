"""The values of limits, as people type and read them."""

import json

from manyhands.model.usage_errors import Mistake


def read(text: str) -> object:
    """Return what a word stands for: ``none``, a number, ``yes`` or ``no``, or the word itself.

    Raises
    ------
    Mistake
        It is empty, as a shell's variable that is not set: a limit is not taken away by that.
    """
    text = text.strip()
    if not text:
        raise Mistake("the value is missing; none takes a limit away")
    if text.lower() == "none":
        return None
    try:
        value: object = json.loads(text, parse_constant=str)
    except ValueError:
        return {"yes": True, "no": False}.get(text.lower(), text)
    # JSON's null is what `jq` makes of a name that is not there.
    return text if value is None else value


def written(value: object) -> str:
    """Return a value as people type it; several networks as the one text that a server takes for them."""
    if value is None:
        return "none"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)
