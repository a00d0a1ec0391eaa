"""Fuzzing of the framing rules: however a stream is cut, its frames, or the error, are the same.

python fuzz/framing.py [FOLDER] [options of libFuzzer, such as -max_total_time=600]

`make fuzz` runs it with the others.
"""

import sys
from collections.abc import Callable

import atheris

with atheris.instrument_imports():
    from manyhands.protocol.framing import (
        FrameBuffer,
        FramingError,
        IncompleteFrame,
        TextDecoder,
    )
    from manyhands.protocol.length_prefixes import LengthPrefix, VarintPrefix

Ask = Callable[[FrameBuffer], bytes | None]


def _asking(chooser: atheris.FuzzedDataProvider) -> Ask:
    limit = chooser.ConsumeIntInRange(0, 300)
    prefix = LengthPrefix(
        chooser.PickValueInList([1, 2, 4, 8]),
        chooser.PickValueInList(["big", "little"]),
        chooser.ConsumeBool(),
    )
    delimiter = chooser.ConsumeBytes(chooser.ConsumeIntInRange(1, 4)) or b"\n"
    count = chooser.ConsumeIntInRange(1, 20)
    ways: list[Ask] = [
        lambda buffer: buffer.frame(prefix, limit),
        lambda buffer: buffer.frame(VarintPrefix(), limit),
        lambda buffer: buffer.until(delimiter, limit),
        lambda buffer: buffer.line(limit),
        lambda buffer: buffer.exactly(count),
        lambda buffer: buffer.piece(count),
    ]
    return chooser.PickValueInList(ways)


def _frames(pieces: list[bytes], ask: Ask) -> tuple[list[bytes], object]:
    """Return the frames, and what ended them: an error's class, or what was left."""
    buffer, frames = FrameBuffer(), []
    try:
        for piece in pieces:
            buffer.feed(piece)
            while (frame := ask(buffer)) is not None:
                frames.append(frame)
        buffer.finish()
    except IncompleteFrame as half:
        return frames, half.partial
    except FramingError as error:
        return frames, type(error)
    return frames, b""


def _text(pieces: list[bytes], encoding: str) -> str:
    buffer, decoder, text = FrameBuffer(), TextDecoder(encoding, "replace"), ""
    for piece in pieces:
        buffer.feed(piece)
        text += buffer.text(decoder, 10_000) or ""
    return text + decoder.feed(buffer.available(len(buffer))) + decoder.finish()


def _cut(chooser: atheris.FuzzedDataProvider, data: bytes) -> list[bytes]:
    pieces = []
    while data:
        size = chooser.ConsumeIntInRange(1, len(data))
        pieces.append(data[:size])
        data = data[size:]
    return pieces


def test_one_input(data: bytes) -> None:
    """Compare the stream in pieces with the stream in one."""
    chooser = atheris.FuzzedDataProvider(data)
    ask = _asking(chooser)
    stream = chooser.ConsumeBytes(chooser.ConsumeIntInRange(0, 1000))
    pieces = _cut(chooser, stream)
    cut, whole = _frames(pieces, ask), _frames([stream], ask)
    if cut != whole:
        raise AssertionError(f"{pieces!r}: {cut!r} is not {whole!r}")
    encoding = chooser.PickValueInList(["utf-8", "utf-16-le", "gb18030", "shift_jis"])
    if _text(pieces, encoding) != _text([stream], encoding):
        raise AssertionError(f"{encoding}: {pieces!r}")


if __name__ == "__main__":
    atheris.Setup(sys.argv, test_one_input)
    atheris.Fuzz()
