"""`manyhands.model.events` for code that emits: loaded when the first event is made.

::

    from manyhands.model import lazy_events as events
    from manyhands.model.event_hub import event_hub

    if event_hub.has_subscribers:
        event_hub.emit(events.AcceptResumed(listener, paused))

Where there is a subscriber, the classes are loaded already: the subscriber came by their module. Without one
they must not be: the event may be that no descriptor is left to open a module with (EMFILE).
"""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from manyhands.model.events import *  # noqa: F403 - all of them, whatever they are
else:

    def __getattr__(name: str) -> object:
        from manyhands.model import events  # noqa: PLC0415 - this is the module's purpose

        # Kept here, so that the next look-up is that of any module.
        value = globals()[name] = getattr(events, name)
        return value
