"""Looks for the secrets of a stack where there must be none."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

PUBLIC = (base64.b64encode(b"-----BEGIN CERT").decode(), "https://")
"""How a certificate and an address begin, which anybody may read."""
OPENLY_SECRET = "kubernetes:helm.sh/v3:Release"
"""Its provider calls every value of a chart a secret; those that we write are in the program."""
SHORTEST = 12
"""Characters: what is shorter could stand anywhere by chance."""


def secrets_in(opened: Any) -> Iterator[str]:
    """Every secret text of a state whose secrets are open."""
    if isinstance(opened, dict):
        if opened.get("type") == OPENLY_SECRET:
            return
        if isinstance(secret := opened.get("plaintext"), str):
            yield from _texts(json.loads(secret))
        for inner in opened.values():
            yield from secrets_in(inner)
    elif isinstance(opened, list):
        for inner in opened:
            yield from secrets_in(inner)


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        if len(value) > SHORTEST and not value.startswith(PUBLIC):
            yield value
    elif isinstance(value, dict) and "plaintext" in value:
        yield from secrets_in(value)
    elif isinstance(value, dict | list):
        for inner in value.values() if isinstance(value, dict) else value:
            yield from _texts(inner)


def files_with(secrets: Iterable[str], folder: Path, but: Iterable[Path]) -> Iterator[Path]:
    """The files below ``folder`` in which one of the secrets stands, some folders left out."""
    needles = [text.encode() for secret in secrets for text in forms(secret)]
    left_out = tuple(but)
    for path in sorted(folder.rglob("*")):
        if path.is_file() and not any(path.is_relative_to(other) for other in left_out):
            content = path.read_bytes()
            if any(needle in content for needle in needles):
                yield path


def forms(secret: str) -> set[str]:
    """A secret as it is, and as JSON writes it."""
    return {secret, json.dumps(secret)[1:-1]}
