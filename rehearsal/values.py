"""Converts property values between protobuf and Python. Secrets become ``Secret`` objects."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from google.protobuf import struct_pb2

SIGNATURE = "4dabf18193072939515e22adb298388d"
"""Key of the signature of a special value (pulumi/pulumi: resource.SigKey)."""
SECRET = "1b47061264138c4ac30d75fd1eb44270"
"""Signature of a secret (pulumi/pulumi: resource.SecretSig)."""
UNKNOWN = "04da6b54-80e4-46f7-96ec-b56ff0331ba9"
"""Value of an unknown string in a preview (pulumi/pulumi: plugin.UnknownStringValue)."""
MASK = "[secret]"


@dataclass(frozen=True)
class Secret:
    """A secret value. Its ``repr`` is masked."""

    value: Any

    def __repr__(self) -> str:
        return MASK


def decode(value: struct_pb2.Value) -> Any:
    """Convert a protobuf value to Python data. Whole numbers become ``int``."""
    kind = value.WhichOneof("kind")
    if kind == "struct_value":
        return decode_struct(value.struct_value)
    if kind == "list_value":
        return [decode(item) for item in value.list_value.values]
    if kind == "number_value":
        number = value.number_value
        return int(number) if number.is_integer() else number
    return getattr(value, kind) if kind in ("string_value", "bool_value") else None


def decode_struct(struct: struct_pb2.Struct) -> Any:
    """Convert a protobuf struct to a ``dict``, or to a ``Secret`` if it has that signature."""
    if SIGNATURE in struct.fields:
        if struct.fields[SIGNATURE].string_value == SECRET:
            return Secret(decode(struct.fields["value"]))
        return {"special": struct.fields[SIGNATURE].string_value}
    return {key: decode(item) for key, item in struct.fields.items()}


def encode(data: dict[str, Any]) -> struct_pb2.Struct:
    """Convert Python data to a protobuf struct."""
    struct = struct_pb2.Struct()
    struct.update(_with_signatures(data))
    return struct


def _convert(
    value: Any,
    convert_secret: Callable[[Any], Any],
    convert_other: Callable[[Any], Any] = lambda it: it,
) -> Any:
    """Return a copy of ``value`` with each secret and each other scalar converted.

    ``convert_secret`` gets the plain value of a ``Secret``.
    """
    if isinstance(value, Secret):
        return convert_secret(value.value)
    if isinstance(value, dict):
        return {key: _convert(item, convert_secret, convert_other) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_convert(item, convert_secret, convert_other) for item in value]
    return convert_other(value)


def _with_signatures(value: Any) -> Any:
    return _convert(value, lambda inner: {SIGNATURE: SECRET, "value": _with_signatures(inner)})


def reveal(value: Any) -> Any:
    """Return the value with its secrets in plain text. Do not print it."""
    return _convert(value, reveal)


def mask(value: Any) -> Any:
    """Return the value with its secrets masked, for output."""
    return _convert(value, lambda _: MASK, lambda it: "[unknown]" if it == UNKNOWN else it)
