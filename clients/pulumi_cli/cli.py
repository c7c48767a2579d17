"""Finds the Pulumi CLI on PATH, or installs the pinned release."""

from __future__ import annotations

import shutil
import subprocess
from importlib.metadata import version
from pathlib import Path

from settings.project import PROJECT_FOLDER

CLI_FOLDER = PROJECT_FOLDER / ".pulumi-cli"
"""Folder into which the CLI is installed if it is not on PATH."""


class NoCliError(Exception):
    """The Pulumi CLI is missing and could not be installed. The message has the fix."""


def installed(folder: Path = CLI_FOLDER) -> Path | None:
    """The path of the CLI on PATH or in ``folder``; ``None`` if it is missing."""
    if found := shutil.which("pulumi"):
        return Path(found)
    command = folder / "bin" / "pulumi"
    return command if command.exists() else None


def find(folder: Path = CLI_FOLDER) -> Path:
    """The path of the CLI. If it is missing, install it into ``folder``. Raises ``NoCliError``."""
    if found := installed(folder):
        return found
    command = folder / "bin" / "pulumi"
    print(
        f"No `pulumi` on PATH: installing v{version('pulumi')} into {folder.name}/ ...", flush=True
    )
    # Imported here because only an installation needs it, and the import is slow.
    from pulumi.automation import PulumiCommand

    try:
        # Installs the release with the version of the pinned SDK.
        PulumiCommand.install(root=str(folder))
    except (OSError, RuntimeError, subprocess.SubprocessError) as error:
        raise NoCliError(
            f"The Pulumi CLI is not on PATH and could not be installed ({_first_line(error)}). "
            f"Install v{version('pulumi')} from https://www.pulumi.com/docs/install/ and run this "
            "again."
        ) from None
    return command


def _first_line(error: Exception) -> str:
    output = getattr(error, "output", None)
    text = output.decode(errors="replace") if isinstance(output, bytes) else str(error)
    return next((line.strip() for line in text.splitlines() if line.strip()), type(error).__name__)
