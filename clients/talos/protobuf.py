"""Encodes and finds protobuf fields of bytes, text, messages or numbers. Needs no schema.

The encoding is that of protobuf.dev/programming-guides/encoding.
"""

from __future__ import annotations

from collections.abc import Iterator

_VARINT, _FIXED_64, _BYTES, _FIXED_32 = 0, 1, 2, 5


def field(number: int, value: bytes) -> bytes:
    """Encode a field of bytes, text or a message."""
    return _varint(number << 3 | _BYTES) + _varint(len(value)) + value


def number_field(number: int, value: int) -> bytes:
    """Encode a field with a number, a boolean or an enum."""
    return _varint(number << 3 | _VARINT) + _varint(value)


def find(message: bytes, *path: int) -> bytes:
    """The value of a nested field; ``path`` are the field numbers from the outside. Empty if it is
    missing; the values of a repeated field are concatenated."""
    for number in path:
        message = b"".join(find_all(message, number))
    return message


def find_all(message: bytes, number: int) -> list[bytes]:
    """The values of a repeated field of bytes, text or messages."""
    return [it for found, it in _fields(message) if found == number and isinstance(it, bytes)]


def find_number(message: bytes, number: int) -> int:
    """The value of a field with a number, a boolean or an enum; 0 if it is missing."""
    found = [it for key, it in _fields(message) if key == number and isinstance(it, int)]
    return found[-1] if found else 0


def _fields(message: bytes) -> Iterator[tuple[int, bytes | int]]:
    """Number and value of each field, without those of a fixed size."""
    position = 0
    while position < len(message):
        tag, position = _read_varint(message, position)
        kind = tag & 7
        if kind == _VARINT:
            value, position = _read_varint(message, position)
            yield tag >> 3, value
        elif kind == _BYTES:
            size, position = _read_varint(message, position)
            yield tag >> 3, message[position : position + size]
            position += size
        elif kind in (_FIXED_64, _FIXED_32):
            position += 8 if kind == _FIXED_64 else 4
        else:
            raise ValueError(f"unsupported protobuf wire type {kind}")


def _varint(number: int) -> bytes:
    encoded = bytearray()
    while number > 0x7F:
        encoded.append(number & 0x7F | 0x80)
        number >>= 7
    return bytes([*encoded, number])


def _read_varint(message: bytes, position: int) -> tuple[int, int]:
    """Decode a number; returns it and the position after it."""
    number = shift = 0
    while True:
        byte = message[position]
        position += 1
        number |= (byte & 0x7F) << shift
        shift += 7
        if byte < 0x80:
            return number, position
