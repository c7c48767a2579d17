"""The settings of a stack as its program would read them, secrets included; for memory alone."""

from __future__ import annotations

import functools
import json

import pulumi

from engine.session import Session, SessionError
from settings.load import load
from settings.models import Settings

CONFIG = ("config", "--json", "--show-secrets")
"""The CLI's words for all that a stack is configured with."""


@functools.cache
def settings(session: Session) -> Settings:
    """Read them by the CLI, once in a session; no word of ours changes them and asks again.

    Raises ``SessionError``, or ``SettingsError`` where they are wrong.
    """
    try:
        values, secret = values_of(session.read(CONFIG))
    except ValueError:
        raise SessionError("the CLI tells no settings that can be read") from None
    pulumi.runtime.set_all_config(values, secret)
    return load(values, session.stack)


def values_of(said: str | bytes) -> tuple[dict[str, str], list[str]]:
    """What the CLI said to ``CONFIG``, as the program gets it, and the keys that are encrypted.

    Raises ``ValueError``.
    """
    config = json.loads(said)
    values = {key: str(entry["value"]) for key, entry in config.items()}
    return values, [key for key, entry in config.items() if entry["secret"]]
