"""Singular and plural in messages."""

from __future__ import annotations


def count(number: int, noun: str, plural: str = "") -> str:
    """Return ``1 volume`` or ``2 volumes``. Pass ``plural`` if the plural is not noun + *s*."""
    return f"{number} {noun if number == 1 else plural or noun + 's'}"
