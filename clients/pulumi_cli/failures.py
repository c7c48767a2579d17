"""Says what failed in an ``up``, in the last lines that a person sees of it.

The engine tells each error in the middle of its own, and the Python SDK prints the traces of its
interruption after it: the reason is pages above the prompt. All is taken out of the engine's event
log, where each error stands beside its resource.
"""

from __future__ import annotations

import re
import textwrap
from collections.abc import Iterator
from typing import Any

from clients.pulumi_cli import event_log

WIDTH = 100
"""Columns of what is printed."""
LONGEST = 600
"""Characters of an error that are shown; what is longer repeats itself."""
_COLOUR = re.compile(r"<\{%.*?%\}>")
_STACK = "::pulumi:pulumi:Stack::"
"""Of a resource that failed the program says nothing but where it was interrupted; what is wrong
with the program itself, its settings, stands last anyway."""
_NOISE = re.compile(
    r"^(?:error: |\[ERROR\] |Exception calling application: |\d+ errors? occurred:\s*\* )+"
)


def told(log: str) -> Iterator[str]:
    """The lines that say what failed, and how to go on; none where nothing did."""
    found = dict(_errors(log))
    if not found:
        return
    yield ""
    yield "What failed:"
    for urn, message in found.items():
        yield from textwrap.wrap(
            f"{_subject(urn)}: {message}",
            WIDTH,
            initial_indent="  - ",
            subsequent_indent="    ",
            break_long_words=False,
            break_on_hyphens=False,
        )
    yield "What was made before stays. `make up` goes on from here, `make down` takes it away."


def _errors(log: str) -> Iterator[tuple[str, str]]:
    """URN and message of each error of a resource, in order; a resource's last one counts."""
    for event in event_log.read(log):
        diagnostic: dict[str, Any] = event.get("diagnosticEvent") or {}
        urn = diagnostic.get("urn", "")
        if diagnostic.get("severity") != "error" or not urn or _STACK in urn:
            continue
        if message := _NOISE.sub("", _COLOUR.sub("", diagnostic["message"]).strip()):
            yield urn, _short(" ".join(message.split()))


def _short(message: str) -> str:
    return message if len(message) <= LONGEST else f"{message[:LONGEST].rstrip()} …"


def _subject(urn: str) -> str:
    """A resource by its name and type."""
    *_, types, name = urn.split("::")
    return f"{name} ({types.rpartition('$')[2]})"
