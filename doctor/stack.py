"""The settings of a stack, with the API token in them, as ``up`` will have them."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

from pydantic import SecretStr

from rehearsal.monitor import RecordingMonitor
from rehearsal.run import perform
from settings import stack_file
from settings.groups import PROJECT, Endpoint
from settings.load import TOKEN, joined
from settings.models import Settings
from settings.problems import Problem, SettingsError

ENVIRONMENT = "PROXMOX_VE_API_TOKEN"
"""Holds the token where the stack file does not; the provider reads it too."""


def read(
    stack: str, folder: Path, open_token: Callable[[], str]
) -> tuple[Settings, tuple[str, ...]]:
    """The settings of ``Pulumi.STACK.yaml`` in ``folder``, and what they warn of.

    ``open_token`` is called only where the file holds the token encrypted, and all else is right.
    Raises ``SettingsError``, also for a token that is missing or malformed.
    """
    file = stack_file.read(stack, folder)
    loaded: list[Settings] = []
    monitor = RecordingMonitor(PROJECT, stack, preview=True)
    # What SOPS keeps encrypted has placeholders in the file already.
    advice = perform(lambda: loaded.append(joined(file.config, {}, stack)), monitor, file)
    (settings,) = loaded
    if TOKEN not in file.secret_keys:
        return settings, tuple(advice)
    token = open_token() if file.has_token else os.environ.get(ENVIRONMENT, "")
    return _with_token(settings, token), tuple(advice)


def _with_token(settings: Settings, token: str) -> Settings:
    keys = settings.proxmoxve.model_dump(by_alias=True) | {"apiToken": SecretStr(token)}
    try:
        endpoint = Endpoint.model_validate(keys)
    except ValueError:
        found = (
            ("(hidden)", "is not an API token of Proxmox") if token else ("missing", "is needed")
        )
        fix = "put it into the stack file, encrypted: make token"
        raise SettingsError([Problem(TOKEN, *found, fix)], settings.stack) from None
    return settings.model_copy(update={"proxmoxve": endpoint})
