"""How messages write numbers of things."""

from __future__ import annotations


def count(number: int, noun: str, plural: str = "") -> str:
    """``1 volume``, ``2 volumes``; ``plural`` is for nouns that take more than an *s*."""
    return f"{number} {noun if number == 1 else plural or noun + 's'}"
