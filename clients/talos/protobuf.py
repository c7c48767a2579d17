"""The little of protobuf's encoding that our own calls to Talos need: fields of bytes.

Leaves out numbers, which are only skipped, and everything that a schema knows
(protobuf.dev/programming-guides/encoding).
"""

from __future__ import annotations

from collections.abc import Iterator

_VARINT, _FIXED_64, _BYTES, _FIXED_32 = 0, 1, 2, 5


def field(number: int, value: bytes) -> bytes:
    """A field of bytes, of text or of a message."""
    return _varint(number << 3 | _BYTES) + _varint(len(value)) + value


def find(message: bytes, *path: int) -> bytes:
    """The value of a field by its number, in a message in a message ...; empty if not there."""
    for number in path:
        message = b"".join(value for found, value in _fields(message) if found == number)
    return message


def _fields(message: bytes) -> Iterator[tuple[int, bytes]]:
    """Each field of bytes, with its number."""
    place = 0
    while place < len(message):
        tag, place = _read(message, place)
        kind = tag & 7
        if kind == _VARINT:
            _, place = _read(message, place)
        elif kind == _BYTES:
            size, place = _read(message, place)
            yield tag >> 3, message[place : place + size]
            place += size
        elif kind in (_FIXED_64, _FIXED_32):
            place += 8 if kind == _FIXED_64 else 4
        else:
            raise ValueError("this is no protobuf")


def _varint(number: int) -> bytes:
    written = bytearray()
    while number > 0x7F:
        written.append(number & 0x7F | 0x80)
        number >>= 7
    return bytes([*written, number])


def _read(message: bytes, place: int) -> tuple[int, int]:
    """A number, and the place behind it."""
    number = shift = 0
    while True:
        byte = message[place]
        place += 1
        number |= (byte & 0x7F) << shift
        shift += 7
        if byte < 0x80:
            return number, place
