"""What stands in the way of a step, as a sentence for a person."""

from __future__ import annotations


class OperationError(Exception):
    """A step was refused or did not succeed: what, why, and how to go on."""
