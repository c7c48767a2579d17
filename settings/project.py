"""The project folder and the folder of local state."""

from __future__ import annotations

from pathlib import Path

PROJECT_FOLDER = Path(__file__).resolve().parent.parent
"""The folder with ``Pulumi.yaml``, ``__main__.py`` and the stack files."""
STATE = ".state"
"""Name of ``STATE_FOLDER``."""
STATE_FOLDER = PROJECT_FOLDER / STATE
"""Folder for files that later runs need: locks, etcd snapshots, records. Git ignores it."""
