"""Makes the age key of a castle, once, and puts it into the stack file without showing it.

The key goes to the CLI through its standard input: neither a file nor a process' arguments ever
hold it. A castle that has a key keeps it: what was encrypted for it could not be opened any more.
"""

from __future__ import annotations

import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyrage
import yaml

from settings.groups import PROJECT

KEY = "sops.age_key"
"""Where the key stands in the stack file."""


def make(pulumi: Sequence[str], file: Path, environment: dict[str, str]) -> int:
    """Make the key, unless there is one, and print its recipient; returns the CLI's exit code.

    ``pulumi`` is the CLI; ``file`` the stack file, ``Pulumi.NAME.yaml``, of a stack that exists.
    """
    stack = file.name.removeprefix("Pulumi.").removesuffix(".yaml")
    document = yaml.safe_load(file.read_text(encoding="utf-8")) or {}
    there = _has_key(document.get("config") or {})
    verb = ["get"] if there else ["set", "--secret"]
    identity = "" if there else str(pyrage.x25519.Identity.generate())
    done = subprocess.run(
        [*pulumi, "config", *verb, "--path", KEY, "--stack", stack, "--non-interactive"],
        cwd=file.parent,
        env=environment,
        input=identity,
        stdout=subprocess.PIPE,
        text=True,
        check=False,
    )
    if done.returncode:
        return done.returncode
    recipient = pyrage.x25519.Identity.from_str(identity or done.stdout.strip()).to_public()
    print(
        f"{file.name} has a key already, which stays as it is."
        if there
        else f"A new key stands in {file.name}, encrypted: keep that file, and its passphrase."
    )
    print(f"What to encrypt for, in the .sops.yaml of your manifests:\n{recipient}")
    return 0


def _has_key(config: dict[str, Any]) -> bool:
    """Whether a key may stand in the file; the engine reads a name without a namespace as ours,
    and a group that is encrypted as a whole may hold one."""
    groups = [config.get(name) or {} for name in (f"{PROJECT}:sops", "sops")]
    return any({"age_key", "secure"} & set(group) for group in groups)
