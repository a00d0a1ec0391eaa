"""What a scripted desk has kept."""

from pathlib import Path

from manyhands.desk.transcript_reader import TranscriptReader


def kept(home: Path) -> list[list[tuple[str, str]]]:
    """Return what the transcript has of each call."""
    with TranscriptReader(str(home / "transcript.sqlite")) as archive:
        return [[(m.direction, m.text) for m in c.messages] for c in archive.conversations()]


def endings(home: Path) -> list[str | None]:
    with TranscriptReader(str(home / "transcript.sqlite")) as archive:
        return [conversation.ending for conversation in archive.conversations()]
