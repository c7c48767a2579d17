"""Property strings, the ``a=1,b=2`` of a VM's configuration."""

from __future__ import annotations

from collections.abc import Mapping

_UNITS = ("", "K", "M", "G", "T")
_STEP = 1024


def parse(text: str, default_key: str) -> dict[str, str]:
    """Split a property string; a part without a key belongs to ``default_key``.

    The provider ends some with a comma, hence the empty parts.
    """
    options: dict[str, str] = {}
    for part in filter(None, text.split(",")):
        key, separator, value = part.partition("=")
        if separator:
            options[key] = value
        else:
            options[default_key] = part
    return options


def render(first: str, options: Mapping[str, str]) -> str:
    """Join a property string: the value of its default key, then the others in order."""
    return ",".join([first, *(f"{key}={options[key]}" for key in sorted(options))])


def render_size(size: int) -> str:
    """Write a size with the largest unit that divides it, as ``size=10G``."""
    unit = 0
    while unit < len(_UNITS) - 1 and size >= _STEP and size % _STEP == 0:
        size //= _STEP
        unit += 1
    return f"{size}{_UNITS[unit]}"
