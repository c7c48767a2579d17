"""What runs on this machine: the Pulumi CLI beside the pinned SDK; and what the settings advise."""

from __future__ import annotations

import re
from collections.abc import Iterator
from importlib.metadata import version

from doctor.context import Context
from doctor.findings import Finding, note, ok, warning


def check(context: Context) -> Iterator[Finding]:
    """The CLI must be of the SDK's major version, and not older than it."""
    pinned = version("pulumi")
    text = context.probes.cli_version()
    fix = f"install v{pinned}, or take it off PATH: `make` then installs it for itself"
    if not text:
        yield note("pulumi", f"is not here yet: `make` installs v{pinned} into .pulumi-cli")
        return
    numbers = re.match(r"v?(\d+)\.(\d+)", text)
    found = (int(numbers[1]), int(numbers[2])) if numbers else None
    major, minor, *_ = (int(part) for part in pinned.split("."))
    if found is None or found[0] != major:
        yield warning("pulumi", f"is {text}, and the program is written for v{pinned}", fix)
    elif found < (major, minor):
        yield warning("pulumi", f"is {text}, older than the program's own v{pinned}", fix)
    else:
        yield ok("pulumi", f"is {text}")


def settings(context: Context) -> Iterator[Finding]:
    """What the settings themselves would say in an ``up``."""
    for sentence in context.advice:
        subject, _, text = sentence.partition(" ")
        yield warning(subject, text, "")
    if not context.advice:
        yield ok(f"Pulumi.{context.settings.stack}.yaml", "is right, and nothing in it surprises")
