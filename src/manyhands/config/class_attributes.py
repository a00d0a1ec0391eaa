"""The settings of a server, as its attributes say now; what does not fit is ignored.

Programs have attributes of all names, and some of them, such as `max_threads`, are older than ours. So no
value is an error here: one that is not what the option takes is taken for something else.
"""

from typing import Any

from manyhands.config.options import BY_NAME

OWNERS: dict[str, type] = {}
"""The class that brings a setting, by the setting's name: where a server has none, its own counts."""


def setting(name: str, server: Any) -> Any:
    """Return the option `name` as `server` has it, else as the class that brings it, else its default."""
    option = BY_NAME[name]
    for place in (server, OWNERS.get(name)):
        value = getattr(place, name, option.default)
        if (value is None and option.may_be_none) or option.kind.fits(value):
            return value
    return option.default


def is_on(name: str, server: Any) -> bool:
    """Tell whether the switch `name` is on: any value will do, as in the standard library."""
    try:
        return bool(getattr(server, name))
    except AttributeError:
        return bool(getattr(OWNERS.get(name), name, BY_NAME[name].default))
