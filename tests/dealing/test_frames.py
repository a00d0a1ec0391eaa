"""The frames between a parent and the processes of its handlers: bytes and values, in any pieces."""

import random

import pytest

from manyhands.dealing.frames import Frame, FrameReader, Kind, pack, take_texts, texts

SAID = [
    Frame(Kind.TELL, 7, 2**64 - 1, texts("red") + b"hello\n"),
    Frame(Kind.JOIN, 2**32 - 1, 0, texts("red", "x" * 255)),
    Frame(Kind.DELIVER, 0, 3, b""),
    Frame(Kind.DELIVER, 0, 3, bytes(70_000)),
]


def as_bytes(frames: list[Frame]) -> bytes:
    return b"".join(
        pack(Kind(kind), number, body, request) for kind, request, number, body in frames
    )


@pytest.mark.parametrize("size", [1, 2, 16, 17, 18, 1000, 100_000])
def test_frames_come_whole_whatever_the_pieces_are(size: int) -> None:
    data, reader = as_bytes(SAID), FrameReader()
    found = []
    for start in range(0, len(data), size):
        found += reader.feed(data[start : start + size], 100_000)
    assert found == SAID


@pytest.mark.parametrize("several", [("red",), ("", "x"), ("房间", "\udc80 no text")])
def test_texts_come_back_as_they_were(several: tuple[str, ...]) -> None:
    assert take_texts(texts(*several) + b"rest", len(several)) == (list(several), b"rest")


@pytest.mark.parametrize("body", [b"", b"\0", b"\0\4red", b"\0\3red"])
def test_texts_that_are_not_there_are_no_texts(body: bytes) -> None:
    with pytest.raises(ValueError, match="ends within"):
        take_texts(body, 2)


def test_a_frame_that_would_be_too_long_is_refused_by_its_head() -> None:
    head = pack(Kind.SEND, 1, bytes(100))[:17]
    assert FrameReader().feed(head, 100) == []
    with pytest.raises(ValueError, match="100 bytes has come, more than 99"):
        FrameReader().feed(head, 99)


def test_any_bytes_are_frames_or_refused() -> None:
    chance = random.Random(7)
    for _ in range(300):
        data = bytearray(as_bytes(SAID[:3]))
        for _ in range(chance.randrange(1, 5)):
            data[chance.randrange(len(data))] = chance.randrange(256)
        reader = FrameReader()
        try:
            frames = reader.feed(bytes(data), 1000)
            for frame in frames:
                take_texts(frame.body, 2)
        except ValueError:  # UnicodeDecodeError, too
            continue
