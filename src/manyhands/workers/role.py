"""Whether this process is a template, as its environment says. Small: each server of `manyhands` loads it."""

import os
from collections.abc import Mapping
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from manyhands.workers.template import Template

VARIABLE = "MANYHANDS_TEMPLATE"
"""The environment variable that makes a process a template: the version, and the channel's descriptor."""

OF_PROGRAM = "of_program"
"""The key of what that says, true where the process is to run a program under our launcher."""

UPGRADE = "MANYHANDS_UPGRADE"
"""The environment variable by which a program finds what the one before has left in its process."""


class _Role:
    """What this process is to be."""

    # Taken away at once: what the program starts is no template.
    said = os.environ.pop(VARIABLE, None)
    state = os.environ.pop(UPGRADE, None)
    program: "tuple[int, Template] | None" = None


if _Role.said is not None:
    from manyhands.workers import fresh_modules

    fresh_modules.keep_none_of_fresh_modules()

if _Role.state is not None:
    from manyhands.workers import early_signals

    early_signals.note_from_now_on()


def take_state() -> int | None:
    """Return the descriptor of what the program before has left in this process, once; None of any other."""
    said, _Role.state = _Role.state, None
    pid, _, number = (said or "").partition(":")
    # What a program starts inherits the variable, and not the process.
    return int(number) if pid == str(os.getpid()) and number.isdigit() else None


def is_template() -> bool:
    """Tell whether this process is to become a template where it begins to serve."""
    return _Role.said is not None


def is_template_of_program() -> bool:
    """Tell whether it is to be that of a program under our launcher, and not of a server of its own."""
    return _Role.said is not None and OF_PROGRAM in _Role.said


def note_template_of_program(template: "Template | None") -> None:
    """Note what this process is until the program serves; None: it serves."""
    _Role.program = None if template is None else (os.getpid(), template)


def template_of_program() -> "Template | None":
    """Return what this process is if it is a program under our launcher that does not serve yet."""
    if is_template_of_program():
        note_template_of_program(take_template())
    process, template = _Role.program or (0, None)
    return template if process == os.getpid() else None


def hand_on(environment: Mapping[str, str]) -> dict[str, str]:
    """Return an environment by which a program that takes this process over is the template in its place."""
    said, _Role.said = _Role.said, None
    if said is None:
        return dict(environment)
    import json  # noqa: PLC0415 - of few processes

    return {**environment, VARIABLE: json.dumps({**json.loads(said), OF_PROGRAM: True})}


def fail_template(sentence: str) -> bool:
    """Tell the supervisor why this template will have no worker; return False where this is none."""
    template = take_template()
    if template is not None:
        template.fail(sentence)
    return template is not None


def take_template() -> "Template | None":
    """Return the template that this process is to be, once; None of any other process."""
    from manyhands.workers.template import template_of  # noqa: PLC0415 - of few processes

    said, _Role.said = _Role.said, None
    return None if said is None else template_of(said)
