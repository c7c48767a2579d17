"""The result of a check: a severity, a subject, a sentence and a fix."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Result(StrEnum):
    """The severity of a finding, from the best to the worst."""

    OK = "ok"
    NOTE = "note"
    """Information, or something that cannot be checked from this machine."""
    WARNING = "warning"
    """``up`` works with a restriction, or the result is not certain. ``make up`` continues."""
    FAILURE = "failure"
    """``up`` would fail or cause damage. ``make up`` stops."""


@dataclass(frozen=True)
class Finding:
    """One line of the doctor's output. It prints ``subject``, then ``text``."""

    result: Result
    subject: str
    """What the finding is about: a host, a storage or a setting."""
    text: str
    """What the check found: a sentence without its subject."""
    fix: str = ""
    """What to do; empty if there is nothing to do."""


class CannotCheckError(Exception):
    """A check cannot give a result; the text is the reason.

    ``reported_elsewhere``: another check reports the cause, so this check adds only a note.
    ``detail``: the message of Proxmox, if it refused a request.
    """

    def __init__(self, reason: str, *, detail: str = "", reported_elsewhere: bool = False) -> None:
        super().__init__(reason)
        self.detail = detail
        self.reported_elsewhere = reported_elsewhere


def ok(subject: str, text: str) -> Finding:
    """A finding with ``Result.OK``."""
    return Finding(Result.OK, subject, text)


def note(subject: str, text: str, fix: str = "") -> Finding:
    """A finding with ``Result.NOTE``."""
    return Finding(Result.NOTE, subject, text, fix)


def warning(subject: str, text: str, fix: str) -> Finding:
    """A finding with ``Result.WARNING``."""
    return Finding(Result.WARNING, subject, text, fix)


def failure(subject: str, text: str, fix: str) -> Finding:
    """A finding with ``Result.FAILURE``."""
    return Finding(Result.FAILURE, subject, text, fix)


def gib(size: float) -> str:
    """Format a size in bytes as GiB: ``7.5 GiB``, ``120 GiB``."""
    value = size / 1024**3
    return f"{value:.0f} GiB" if value >= 10 or value == int(value) else f"{value:.1f} GiB"
