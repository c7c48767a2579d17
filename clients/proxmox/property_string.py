"""Reads the property strings in a VM's configuration: ``local-lvm:vm-8010-disk-0,size=34G``."""

from __future__ import annotations

import re

GIB = 1024**3
_UNITS = {"": 1, "K": 1024, "M": 1024**2, "G": GIB, "T": 1024**4}


def parse_options(text: str, default_key: str = "") -> dict[str, str]:
    """The options by name. A part without a name gets ``default_key``."""
    parts = [part.partition("=") for part in text.split(",") if part]
    return {
        key if equals else default_key: value if equals else key for key, equals, value in parts
    }


def parse_size(text: str) -> int | None:
    """A size such as ``43G`` in bytes; ``None`` if the text is none."""
    found = re.fullmatch(r"(\d+)([KMGT]?)", text)
    return int(found[1]) * _UNITS[found[2]] if found else None
