"""Property values as they go over the engine's wire, and as we keep them.

A secret is kept as ``Secret``, so that rules can look inside and nothing that is printed can.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from google.protobuf import struct_pb2

SIGNATURE = "4dabf18193072939515e22adb298388d"
"""Key that marks a special value (pulumi/pulumi sdk: resource.SigKey)."""
SECRET = "1b47061264138c4ac30d75fd1eb44270"
"""Mark of a secret (resource.SecretSig)."""
UNKNOWN = "04da6b54-80e4-46f7-96ec-b56ff0331ba9"
"""What stands in a preview for a value that is not known yet (plugin.UnknownStringValue)."""
MASK = "[secret]"


@dataclass(frozen=True)
class Secret:
    """A value that must not be shown."""

    value: Any

    def __repr__(self) -> str:
        return MASK


def decode(value: struct_pb2.Value) -> Any:
    """A protobuf value as Python data; whole numbers as ``int``."""
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
    """A protobuf struct as a ``dict``, or as ``Secret`` where it is marked as one."""
    if SIGNATURE in struct.fields:
        if struct.fields[SIGNATURE].string_value == SECRET:
            return Secret(decode(struct.fields["value"]))
        return {"special": struct.fields[SIGNATURE].string_value}
    return {key: decode(item) for key, item in struct.fields.items()}


def encode(data: dict[str, Any]) -> struct_pb2.Struct:
    """Python data as a protobuf struct."""
    struct = struct_pb2.Struct()
    struct.update(_marked(data))
    return struct


def _walk(
    value: Any, secret: Callable[[Any], Any], plain: Callable[[Any], Any] = lambda it: it
) -> Any:
    """A copy of ``value``: ``secret`` turns what each ``Secret`` holds, ``plain`` all else."""
    if isinstance(value, Secret):
        return secret(value.value)
    if isinstance(value, dict):
        return {key: _walk(item, secret, plain) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_walk(item, secret, plain) for item in value]
    return plain(value)


def _marked(value: Any) -> Any:
    return _walk(value, lambda inner: {SIGNATURE: SECRET, "value": _marked(inner)})


def reveal(value: Any) -> Any:
    """The value with its secrets open, for rules alone."""
    return _walk(value, reveal)


def mask(value: Any) -> Any:
    """The value as it may be shown."""
    return _walk(value, lambda _: MASK, lambda it: "[unknown]" if it == UNKNOWN else it)
