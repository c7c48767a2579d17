"""Finds the Pulumi CLI: the one on PATH, else the pinned release, installed beside the project."""

from __future__ import annotations

import shutil
import subprocess
from importlib.metadata import version
from pathlib import Path

from pulumi.automation import PulumiCommand


class NoCliError(Exception):
    """There is no Pulumi CLI, and it could not be installed; one sentence says what to do."""


def installed(folder: Path) -> Path | None:
    """The CLI's path, on PATH or in ``folder``; none where there is none yet."""
    if found := shutil.which("pulumi"):
        return Path(found)
    command = folder / "bin" / "pulumi"
    return command if command.exists() else None


def find(folder: Path) -> Path:
    """The CLI's path; ``folder`` is where it is installed if PATH has none.

    Raises ``NoCliError``.
    """
    if found := installed(folder):
        return found
    command = folder / "bin" / "pulumi"
    print(
        f"No `pulumi` on PATH: installing v{version('pulumi')} into {folder.name}/ ...", flush=True
    )
    try:
        # The release that matches the pinned SDK, by Pulumi's own installer.
        PulumiCommand.install(root=str(folder))
    except (OSError, RuntimeError, subprocess.SubprocessError) as error:
        raise NoCliError(
            f"The Pulumi CLI is not on PATH and could not be installed ({_first_line(error)}): "
            f"install v{version('pulumi')} from https://www.pulumi.com/docs/install/ and run this "
            "again."
        ) from None
    return command


def _first_line(error: Exception) -> str:
    output = getattr(error, "output", None)
    text = output.decode(errors="replace") if isinstance(output, bytes) else str(error)
    return next((line.strip() for line in text.splitlines() if line.strip()), type(error).__name__)
