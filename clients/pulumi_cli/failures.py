"""Summarizes the errors of an ``up`` as its last output.

Pulumi prints errors in the middle of its output, and the Python SDK prints tracebacks after them,
so the reason is pages above the prompt. The event log has the error of each resource.
"""

from __future__ import annotations

import re
import textwrap
from collections.abc import Iterator
from typing import Any

from clients.pulumi_cli import event_log

WIDTH = 100
"""Maximum columns of a line."""
MAX_LENGTH = 600
"""Maximum length of a shown error; longer text is only repetition."""
_COLOR_MARKS = re.compile(r"<\{%.*?%\}>")
_STACK = "::pulumi:pulumi:Stack::"
"""Part of the URN of the stack. Its errors are left out: they are tracebacks of an interrupted
program, and Pulumi prints an error of the program itself, such as wrong settings, last anyway."""
_PREFIXES = re.compile(
    r"^(?:error: |\[ERROR\] |Exception calling application: |\d+ errors? occurred:\s*\* )+"
)


def told(log: str) -> Iterator[str]:
    """The lines of the summary: failed resources and the next step; empty if nothing failed.

    ``log`` is the content of the event log.
    """
    errors = dict(_errors(log))
    if not errors:
        return
    yield ""
    yield "What failed:"
    for urn, message in errors.items():
        yield from textwrap.wrap(
            f"{_subject(urn)}: {message}",
            WIDTH,
            initial_indent="  - ",
            subsequent_indent="    ",
            break_long_words=False,
            break_on_hyphens=False,
        )
    yield (
        "Created resources still exist. `make up` continues from here; `make down` removes "
        "everything."
    )


def _errors(log: str) -> Iterator[tuple[str, str]]:
    """URN and message of each error of a resource; a later error replaces an earlier one."""
    for event in event_log.read(log):
        diagnostic: dict[str, Any] = event.get("diagnosticEvent") or {}
        urn = diagnostic.get("urn", "")
        if diagnostic.get("severity") != "error" or not urn or _STACK in urn:
            continue
        if message := _PREFIXES.sub("", _COLOR_MARKS.sub("", diagnostic["message"]).strip()):
            yield urn, _short(" ".join(message.split()))


def _short(message: str) -> str:
    return message if len(message) <= MAX_LENGTH else f"{message[:MAX_LENGTH].rstrip()} …"


def _subject(urn: str) -> str:
    """Name and type of a resource."""
    *_, types, name = urn.split("::")
    return f"{name} ({types.rpartition('$')[2]})"
