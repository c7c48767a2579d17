"""The settings of a stack as its program would read them, secrets included; for memory alone."""

from __future__ import annotations

import functools
import json

import pulumi

from clients.pulumi_cli.session import Session, SessionError
from settings.load import load
from settings.models import Settings


@functools.cache
def settings(session: Session) -> Settings:
    """Read them by the CLI, once in a session; no word of ours changes them and asks again.

    Raises ``SessionError``, or ``SettingsError`` where they are wrong.
    """
    try:
        values, secret = values_of(session.config())
    except ValueError:
        raise SessionError("the CLI tells no settings that can be read") from None
    pulumi.runtime.set_all_config(values, secret)
    return load(values, session.stack)


def values_of(said: str | bytes) -> tuple[dict[str, str], list[str]]:
    """What ``session.CONFIG`` makes the CLI print, as the program gets it, and the encrypted keys.

    Raises ``ValueError``.
    """
    config = json.loads(said)
    values = {key: str(entry["value"]) for key, entry in config.items()}
    return values, [key for key, entry in config.items() if entry["secret"]]
