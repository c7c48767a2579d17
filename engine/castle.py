"""The settings of a stack as its program would read them, secrets included; for memory alone."""

from __future__ import annotations

import json

import pulumi

from engine.session import Session, SessionError
from settings import Settings
from settings.load import load


def settings(session: Session) -> Settings:
    """Read them by the CLI; raises ``SessionError``, or ``SettingsError`` where they are wrong."""
    try:
        config = json.loads(session.read(["config", "--json", "--show-secrets"]))
    except ValueError:
        raise SessionError("the CLI tells no settings that can be read") from None
    values = {key: str(entry["value"]) for key, entry in config.items()}
    secret = [key for key, entry in config.items() if entry["secret"]]
    pulumi.runtime.set_all_config(values, secret)
    return load(values, session.stack)
