"""Fields of protobuf messages, encoded and found."""

from __future__ import annotations

import pytest

from clients.talos import protobuf

MESSAGE = b"\x08\x96\x01" + protobuf.field(2, b"one") + protobuf.field(2, b"two") + b"\x1d\0\0\0\0"


def test_values_and_integers_are_found() -> None:
    assert protobuf.find_all(MESSAGE, 2) == [b"one", b"two"]
    assert protobuf.find(MESSAGE, 2) == b"onetwo"
    assert protobuf.find_number(MESSAGE, 1) == 150
    nested = protobuf.field(7, protobuf.field(1, b"inside"))
    assert protobuf.find(nested, 7, 1) == b"inside"


def test_a_missing_field_or_one_of_another_type_is_empty() -> None:
    assert protobuf.find(MESSAGE, 3) == b""
    assert protobuf.find_all(MESSAGE, 1) == []
    assert protobuf.find_number(MESSAGE, 2) == 0


def test_a_message_of_something_else_is_an_error() -> None:
    with pytest.raises(ValueError, match="unsupported protobuf wire type"):
        protobuf.find(b"\x0f", 1)
