"""Reads the settings of a stack through the Pulumi CLI, secrets included."""

from __future__ import annotations

import functools
import json

import pulumi

from clients.pulumi_cli.session import Session, SessionError
from settings.load import load
from settings.models import Settings


@functools.cache
def settings(session: Session) -> Settings:
    """Read the settings once per session: no command that reads them also changes them.

    Raises ``SessionError``, or ``SettingsError`` if the settings are wrong.
    """
    try:
        values, secret = values_of(session.config())
    except ValueError:
        raise SessionError("the settings that the Pulumi CLI prints are invalid") from None
    pulumi.runtime.set_all_config(values, secret)
    return load(values, session.stack)


def values_of(output: str | bytes) -> tuple[dict[str, str], list[str]]:
    """The settings as the program gets them, and the names of the encrypted keys.

    ``output`` is what the CLI prints for ``session.CONFIG``. Raises ``ValueError``.
    """
    config = json.loads(output)
    values = {key: str(entry["value"]) for key, entry in config.items()}
    return values, [key for key, entry in config.items() if entry["secret"]]
