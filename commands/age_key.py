"""``make age-key``: create the age key of a stack once, and store it encrypted in the stack file.

The key is passed to the Pulumi CLI on standard input, so it never appears in a file or in process
arguments. An existing key is never replaced, because files encrypted for it could not be decrypted.
"""

from __future__ import annotations

import sys

import pyrage

from clients.pulumi_cli.session import PulumiError, Session
from settings import stack_file
from settings.problems import SettingsError

KEY = "sops.age_key"
"""Path of the setting in the stack file."""


def create_key(session: Session) -> int:
    """Create the key if the stack has none, and print its public key (the age recipient).

    The stack must exist. Returns an exit code.
    """
    try:
        file = stack_file.find(session.stack, session.project)
        # A group that is encrypted as a whole may contain a key, so it counts as one.
        exists = stack_file.open_file(file).value(KEY) is not None
        if exists:
            identity = session.read(["config", "get", "--path", KEY]).decode().strip()
        else:
            identity = str(pyrage.x25519.Identity.generate())
            session.read(["config", "set", "--secret", "--path", KEY], identity)
    except SettingsError as error:
        print(error, file=sys.stderr)
        return 2
    except PulumiError as error:
        print(error, file=sys.stderr)
        return error.status or 1
    print(
        f"{file.name} already has an age key; it was not changed."
        if exists
        else f"Stored a new age key, encrypted, in {file.name}. Keep that file and its passphrase."
    )
    recipient = pyrage.x25519.Identity.from_str(identity).to_public()
    print(f"Public key for the .sops.yaml of your manifests repository:\n{recipient}")
    return 0
