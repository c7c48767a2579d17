"""Asks for the passphrase once if several commands of the Pulumi CLI need it."""

from __future__ import annotations

import getpass
import re
import sys
from collections.abc import MutableMapping
from pathlib import Path

VARIABLE = "PULUMI_CONFIG_PASSPHRASE"
FILE_VARIABLE = "PULUMI_CONFIG_PASSPHRASE_FILE"


def ask_once(environment: MutableMapping[str, str], stack_file: Path) -> None:
    """Ask for the passphrase and set it in ``environment``, if the CLI would ask for it.

    The CLI asks if the stack file has an encryption salt, neither variable is set, and standard
    input is a terminal.
    """
    if VARIABLE in environment or FILE_VARIABLE in environment or not sys.stdin.isatty():
        return
    text = stack_file.read_text(encoding="utf-8") if stack_file.exists() else ""
    if re.search(r"^encryptionsalt:", text, re.MULTILINE):
        prompt = f"Enter the passphrase of {stack_file.name} (set {VARIABLE} to remember): "
        environment[VARIABLE] = getpass.getpass(prompt)
