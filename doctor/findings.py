"""What a check says: a result, what it is about, a sentence, and a fix."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Result(StrEnum):
    """How a check ended."""

    OK = "ok"
    NOTE = "note"
    """Worth knowing, or what cannot be checked from here."""
    WARNING = "warning"
    """It will work, but not as one would wish; or it is not certain. ``up`` goes on."""
    FAILURE = "failure"
    """``up`` would fail, or harm something. It does not begin."""


@dataclass(frozen=True)
class Finding:
    """One line of the doctor."""

    result: Result
    subject: str
    """What it is about: a host, a storage, a setting."""
    text: str
    """What was seen, as the rest of a sentence after the subject."""
    fix: str = ""
    """What to do; empty where there is nothing to do."""


class CannotTellError(Exception):
    """A check has to end without an answer; the text says why.

    ``said_elsewhere``: another check reports the cause, so a note is enough.
    """

    def __init__(self, reason: str, *, said_elsewhere: bool = False) -> None:
        super().__init__(reason)
        self.said_elsewhere = said_elsewhere


def ok(subject: str, text: str) -> Finding:
    """All is well."""
    return Finding(Result.OK, subject, text)


def note(subject: str, text: str, fix: str = "") -> Finding:
    """Something to know."""
    return Finding(Result.NOTE, subject, text, fix)


def warning(subject: str, text: str, fix: str) -> Finding:
    """Something that ``up`` can live with."""
    return Finding(Result.WARNING, subject, text, fix)


def failure(subject: str, text: str, fix: str) -> Finding:
    """Something that ``up`` would break on."""
    return Finding(Result.FAILURE, subject, text, fix)


def gib(size: float) -> str:
    """Bytes for people: ``7.5 GiB``, ``120 GiB``."""
    value = size / 1024**3
    return f"{value:.0f} GiB" if value >= 10 or value == int(value) else f"{value:.1f} GiB"
