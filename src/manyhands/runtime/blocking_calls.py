"""`blocking`: a call that would hold up every fiber, made in a thread."""

import contextvars
from collections.abc import Callable
from typing import Any, ParamSpec, TypeVar

from manyhands.runtime.caller import begin_serving, current_task, end_serving, hub_of_fiber

Arguments = ParamSpec("Arguments")
Result = TypeVar("Result")


def blocking(
    function: Callable[Arguments, Result], *args: Arguments.args, **kwargs: Arguments.kwargs
) -> Result:
    """Call a function that blocks, or computes for long; on fibers, in a thread, while other fibers run.

    On the other engines it is a plain call, so a handler that says so runs on every engine.

    Parameters
    ----------
    function
        What to call. On fibers it runs in a thread: it must not use what belongs to the fibers.
    *args, **kwargs
        What to call it with.

    Returns
    -------
    object
        What `function` returned; what it raised is raised.

    Notes
    -----
    As many such calls run at the same time as the hub's thread pool has threads, 10 by default
    (`gevent.get_hub().threadpool.maxsize`); more wait for their turn, and let fibers run.
    """
    hub = hub_of_fiber()
    if hub is None:
        return function(*args, **kwargs)
    # The function's thread serves the fiber's task: `manyhands.ask` there labels its question with it.
    context = contextvars.copy_context()
    result: Result = hub.threadpool.apply(
        context.run, (_call_for, current_task(), function, *args), kwargs
    )
    return result


def _call_for(task: Any, function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    begun = begin_serving(task)
    try:
        return function(*args, **kwargs)
    finally:
        end_serving(begun)
