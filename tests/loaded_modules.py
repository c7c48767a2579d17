"""Which modules a program loads."""

from __future__ import annotations

import subprocess
import sys

from settings.project import PROJECT_FOLDER


def loaded_modules(program: str) -> set[str]:
    """The names of all modules after a Python program has run in a process of its own."""
    done = subprocess.run(
        [sys.executable, "-c", f"{program}\nimport sys; print(*sys.modules)"],
        cwd=PROJECT_FOLDER,
        capture_output=True,
        text=True,
        check=True,
    )
    return set(done.stdout.split())
