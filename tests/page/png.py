"""Makes the PNG of a browser smaller: few colours are enough for a page of text."""

import struct
import zlib
from collections import Counter

MOST_COLOURS = 256


def shrink(png):
    """The same picture with a palette."""
    width, height, pixels = decoded(png)
    palette = [colour for colour, _ in Counter(pixels).most_common(MOST_COLOURS)]
    known = {colour: number for number, colour in enumerate(palette)}

    def nearest(colour):
        if colour not in known:
            distance = lambda number: sum((a - b) ** 2 for a, b in zip(palette[number], colour))
            known[colour] = min(range(len(palette)), key=distance)
        return known[colour]

    numbers = bytes(map(nearest, pixels))
    rows = b"".join(b"\0" + numbers[at:at + width] for at in range(0, len(numbers), width))
    parts = [(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 3, 0, 0, 0)), (b"PLTE", b"".join(palette)),
             (b"IDAT", zlib.compress(rows, 9)), (b"IEND", b"")]
    return png[:8] + b"".join(
        struct.pack(">I", len(text)) + kind + text + struct.pack(">I", zlib.crc32(kind + text)) for kind, text in parts)


def decoded(png):
    """Width, height and the colours of a PNG with 8 bits of red, green and blue each, without a palette."""
    at, packed = 8, b""
    while at < len(png):
        length, kind = struct.unpack(">I4s", png[at:at + 8])
        if kind == b"IHDR":
            width, height, *form = struct.unpack(">IIBBBBB", png[at + 8:at + 8 + length])
            assert form == [8, 2, 0, 0, 0], form
        elif kind == b"IDAT":
            packed += png[at + 8:at + 8 + length]
        at += 12 + length
    rows = zlib.decompress(packed)
    stride = 3 * width
    above, pixels = bytearray(stride), []
    for row in range(height):
        start = row * (stride + 1)
        line = bytearray(rows[start + 1:start + 1 + stride])
        unfilter(rows[start], line, above)
        pixels += [bytes(line[at:at + 3]) for at in range(0, stride, 3)]
        above = line
    return width, height, pixels


def unfilter(kind, line, above):
    """Adds to each byte what the filter of its line has taken from it (PNG, 9.2)."""
    for at in range(len(line)):
        left = line[at - 3] if at >= 3 else 0
        corner = above[at - 3] if at >= 3 else 0
        up = above[at]
        match kind:
            case 1:
                line[at] = line[at] + left & 255
            case 2:
                line[at] = line[at] + up & 255
            case 3:
                line[at] = line[at] + (left + up) // 2 & 255
            case 4:
                guess = left + up - corner
                best = min((left, up, corner), key=lambda value: abs(guess - value))
                line[at] = line[at] + best & 255
