"""``make age-key``: create the age key of a stack once, and store it encrypted in the stack file.

The key is passed to the Pulumi CLI on standard input, so it never appears in a file or in process
arguments. An existing key is never replaced, because files encrypted for it could not be decrypted.
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
"""Path of the setting in the stack file."""


def create_key(pulumi: Sequence[str], file: Path, environment: dict[str, str]) -> int:
    """Create the key if the stack has none, and print its public key (the age recipient).

    ``pulumi`` is the command line of the CLI, ``file`` the stack file ``Pulumi.NAME.yaml``; the
    stack must exist. Returns the exit code of the CLI.
    """
    stack = file.name.removeprefix("Pulumi.").removesuffix(".yaml")
    document = yaml.safe_load(file.read_text(encoding="utf-8")) or {}
    exists = _has_key(document.get("config") or {})
    verb = ["get"] if exists else ["set", "--secret"]
    identity = "" if exists else str(pyrage.x25519.Identity.generate())
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
        f"{file.name} already has an age key; it was not changed."
        if exists
        else f"Stored a new age key, encrypted, in {file.name}. Keep that file and its passphrase."
    )
    print(f"Public key for the .sops.yaml of your manifests repository:\n{recipient}")
    return 0


def _has_key(config: dict[str, Any]) -> bool:
    """Tell whether the stack file may contain a key.

    Pulumi reads a name without a namespace as a setting of this project. A group that is encrypted
    as a whole (``secure``) may contain a key, so it counts as one.
    """
    groups = [config.get(name) or {} for name in (f"{PROJECT}:sops", "sops")]
    return any({"age_key", "secure"} & set(group) for group in groups)
