"""The options of a drop-in server, as its attributes say now; a value that does not fit is ignored.

Programs have attributes of all names, and some of them, such as `max_threads`, are older than ours. So no
value is an error here: one that is not what the option takes is taken for something else.
"""

from typing import Any, TypeVar

from manyhands.config.options import DROP_IN_OPTIONS

_Class = TypeVar("_Class", bound=type)

_MIX_INS: dict[str, type] = {}
"""The mix-in that brings a setting of an engine. `engine` moves a server to engines that are not its
mix-in's: then the settings are those of the class that usually brings them."""


def has_options(owner: _Class) -> _Class:
    """Give a class the options whose rows name it, as attributes with their defaults. A decorator."""
    for name, option in DROP_IN_OPTIONS.items():
        if owner.__name__ not in option.owners:
            continue
        if not option.is_unset:
            setattr(owner, name, option.default)
        # Several have `daemon_threads`: other servers go by the first in the row.
        if option.group == "engine" and option.owners[0] == owner.__name__:
            _MIX_INS[name] = owner
    return owner


def setting(name: str, server: Any) -> Any:
    """Return the option `name` as `server` has it, else as its mix-in, else its default."""
    option = DROP_IN_OPTIONS[name]
    # `manyhands run` and programs set attributes of the mix-ins, which the server may not stand on.
    for place in (server, _MIX_INS.get(name)):
        value = getattr(place, name, option.default)
        if option.fits(value):
            return value
    return option.default


def is_on(name: str, server: Any) -> bool:
    """Tell whether the switch `name` is on: any value will do, as in the standard library."""
    try:
        return bool(getattr(server, name))
    except AttributeError:
        return bool(getattr(_MIX_INS.get(name), name, DROP_IN_OPTIONS[name].default))
