"""Checks of this machine: the version of the Pulumi CLI, and warnings about the settings."""

from __future__ import annotations

import re
from collections.abc import Iterator
from importlib.metadata import version

from doctor.context import Context
from doctor.findings import Finding, note, ok, warning


def check_cli(context: Context) -> Iterator[Finding]:
    """Check that the Pulumi CLI has the SDK's major version, and is not older than the SDK."""
    pinned = version("pulumi")
    text = context.probes.cli_version()
    fix = f"install v{pinned}, or remove the CLI from PATH: `make` then installs v{pinned} itself"
    if not text:
        yield note("pulumi", f"is not installed yet: `make` installs v{pinned} into .pulumi-cli")
        return
    numbers = re.match(r"v?(\d+)\.(\d+)", text)
    found = (int(numbers[1]), int(numbers[2])) if numbers else None
    major, minor, *_ = (int(part) for part in pinned.split("."))
    if found is None or found[0] != major:
        yield warning("pulumi", f"is {text}, but the program needs v{pinned}", fix)
    elif found < (major, minor):
        yield warning("pulumi", f"is {text}, older than the program's SDK v{pinned}", fix)
    else:
        yield ok("pulumi", f"is {text}")


def check_settings(context: Context) -> Iterator[Finding]:
    """Report the warnings about the settings, which ``make up`` prints too."""
    file = f"Pulumi.{context.settings.stack}.yaml"
    for sentence in context.advice:
        yield warning(file, f"has a warning: {sentence}", "")
    if not context.advice:
        yield ok(file, "is correct, without warnings")
