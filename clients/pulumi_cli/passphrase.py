"""Asks for the passphrase once if several commands of the Pulumi CLI need it."""

from __future__ import annotations

import getpass
import sys

from clients.pulumi_cli.secrets import FILE_VARIABLE, VARIABLE
from clients.pulumi_cli.session import StackReader
from settings import stack_file


def ask_once(reader: StackReader) -> None:
    """Ask for the passphrase and set it in the session's environment, if the CLI would ask for it.

    The CLI asks if the stack file has an encryption salt, neither variable is set, and standard
    input is a terminal. Raises ``SettingsError`` if the stack file cannot be read.
    """
    if {VARIABLE, FILE_VARIABLE} & reader.environment.keys() or not sys.stdin.isatty():
        return
    file = stack_file.find(reader.stack, reader.project)
    if "encryptionsalt" in stack_file.open_file(file).keys:
        prompt = f"Enter the passphrase of {file.name} (set {VARIABLE} to remember): "
        reader.environment[VARIABLE] = getpass.getpass(prompt)
