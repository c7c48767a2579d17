"""How a dynamic resource says something to the person who runs Pulumi."""

from __future__ import annotations


def report(text: str) -> None:
    """Print a sentence: the engine shows it among its diagnostics (tried with Pulumi 3.259)."""
    print(text, flush=True)
