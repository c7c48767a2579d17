"""The error of an operation, with a message for the user."""

from __future__ import annotations


class OperationError(Exception):
    """An operation was refused or failed. The message has the problem, the reason and the fix."""
