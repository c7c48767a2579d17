"""The folder that holds the program."""

from __future__ import annotations

from pathlib import Path

PROJECT_FOLDER = Path(__file__).resolve().parent.parent
"""The folder with ``Pulumi.yaml``, ``__main__.py`` and the stack files."""
STATE = ".state"
"""Name of the folder below."""
STATE_FOLDER = PROJECT_FOLDER / STATE
"""Where commands keep what must survive a run: locks, etcd snapshots, records. Git ignores it."""
