"""What programs give to be sent: checked, and taken as bytes of which nothing changes any more."""

from manyhands.model.usage_errors import Mistake

LONGEST_NAME = 255
"""Characters of the name of a room or a subject: it is part of a line on a screen, or of a bus's subject."""

LONGEST_MESSAGE = 64 * 1024
"""Bytes: what is longer is better published as the place where it is to be had."""

WHEN_BEHIND = ("close", "drop_oldest", "drop_new")
"""What may become of what does not take its pieces, or messages, as fast as they come."""


def piece_of(data: object) -> bytes:
    """Return what is to be sent as bytes.

    Raises
    ------
    Mistake
        It is text, or nothing of bytes.
    """
    if type(data) is bytes:
        return data
    if isinstance(data, str):
        raise Mistake(f"what is sent is bytes, not text: say {data[:20]!r}.encode()")
    try:
        with memoryview(data) as view:  # type: ignore[arg-type]  # whether it has a buffer is the question
            return bytes(view)
    except TypeError:
        raise Mistake(f"what is sent is bytes, not {type(data).__name__}") from None


def message_of(data: object) -> bytes:
    """Return what is to be published, or replied, as bytes.

    Raises
    ------
    Mistake
        It is text, nothing of bytes, or too long.
    """
    message = piece_of(data)
    if len(message) > LONGEST_MESSAGE:
        raise Mistake(
            f"a message has at most {LONGEST_MESSAGE} bytes, not {len(message)}: say where the rest is"
        )
    return message


def check_name(of_what: str, name: object) -> None:
    """Refuse what is no name of a room, a member or a subject.

    Raises
    ------
    Mistake
        It is no text, or of no length that a name has.
    """
    if not isinstance(name, str):
        raise Mistake(f"the name of a {of_what} is text, not {name!r}")
    if not 0 < len(name) <= LONGEST_NAME:
        raise Mistake(
            f"the name of a {of_what} has 1 to {LONGEST_NAME} characters, not {len(name)}"
        )
