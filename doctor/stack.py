"""Read the settings of a stack, with the decrypted API token."""

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
"""Environment variable with the token if the stack file has none. The provider uses it too."""


def read(
    stack: str, folder: Path, open_token: Callable[[], str]
) -> tuple[Settings, tuple[str, ...]]:
    """Read ``Pulumi.STACK.yaml`` in ``folder``; return the settings, and warnings about them.

    ``open_token`` decrypts the token. It is called only if the file has an encrypted token and all
    settings are correct. Raises ``SettingsError``, also if the token is missing or malformed.
    """
    file = stack_file.read(stack, folder)
    loaded: list[Settings] = []
    monitor = RecordingMonitor(PROJECT, stack, preview=True)
    # Values that SOPS encrypts have placeholders in `file` here.
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
        found = ("(hidden)", "is not a Proxmox API token") if token else ("missing", "is required")
        fix = "run `make token`, which writes it encrypted into the stack file"
        raise SettingsError([Problem(TOKEN, *found, fix)], settings.stack) from None
    return settings.model_copy(update={"proxmoxve": endpoint})
