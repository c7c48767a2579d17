"""Asks for the passphrase once, where several commands of the CLI need it one after the other."""

from __future__ import annotations

import getpass
import re
import sys
from collections.abc import MutableMapping
from pathlib import Path

VARIABLE = "PULUMI_CONFIG_PASSPHRASE"
FILE_VARIABLE = "PULUMI_CONFIG_PASSPHRASE_FILE"


def ask_once(environment: MutableMapping[str, str], stack_file: Path) -> None:
    """Put the passphrase into the environment of the CLI, if it would ask for it.

    It would where the stack file is encrypted with one, no variable holds it, and a person is at
    the terminal.
    """
    if VARIABLE in environment or FILE_VARIABLE in environment or not sys.stdin.isatty():
        return
    text = stack_file.read_text(encoding="utf-8") if stack_file.exists() else ""
    if re.search(r"^encryptionsalt:", text, re.MULTILINE):
        prompt = f"Enter the passphrase of {stack_file.name} (set {VARIABLE} to remember): "
        environment[VARIABLE] = getpass.getpass(prompt)
