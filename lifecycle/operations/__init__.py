"""Operations on a running cluster, and checks of its state. Nothing here depends on Pulumi."""

from __future__ import annotations


def report(text: str) -> None:
    """Print a message, which Pulumi shows under *Diagnostics* (tried with Pulumi 3.259)."""
    print(text, flush=True)
