"""Reads the settings of a stack through the Pulumi CLI, secrets included, into memory only."""

from __future__ import annotations

import functools

import pulumi

from clients.pulumi_cli.session import PulumiError, StackReader
from settings import encrypted
from settings.load import TOKEN, load
from settings.models import Settings
from settings.problems import Problem, SettingsError


@functools.cache
def settings(reader: StackReader) -> Settings:
    """Read the settings once per session: no command that reads them also changes them.

    Raises ``PulumiError``, or ``SettingsError`` if the settings are wrong.
    """
    secret_keys = [key for key, entry in reader.config().items() if entry["secret"]]
    values = _values(reader)
    pulumi.runtime.set_all_config(values, secret_keys)
    return load(values, reader.stack)


def is_passphrase_lost(reader: StackReader) -> bool:
    """Whether settings or state cannot be decrypted, because the passphrase is wrong or not set."""
    try:
        reader.config()
        reader.resources(secrets=True)
    except PulumiError as error:
        # The CLI has no exit code of its own for this.
        return any(text in error.detail for text in ("incorrect passphrase", "passphrase must be"))
    return False


def api_token(reader: StackReader) -> str:
    """Decrypt the Proxmox API token. Raises ``SettingsError``."""

    def refuse(reason: str, fix: str) -> SettingsError:
        problem = Problem(TOKEN, "encrypted", f"cannot be decrypted{reason}", fix)
        return SettingsError([problem], reader.stack)

    if reader.pulumi is None:
        raise refuse(" without the Pulumi CLI", "`make preview` installs it")
    try:
        values = _values(reader)
        if TOKEN in encrypted.read(reader.stack, reader.project):
            return str(encrypted.opened(reader.stack, values, reader.project)[TOKEN])
        return values[TOKEN].strip()
    except PulumiError as error:
        lines = (line.strip() for line in error.detail.splitlines())
        reason = next(filter(None, lines), "no error message").removeprefix("error: ")
        raise refuse(
            f": {reason}",
            "set PULUMI_CONFIG_PASSPHRASE to the passphrase. If the passphrase is lost, see "
            "docs/day-two.md: `make down` then takes the token from PROXMOX_VE_API_TOKEN",
        ) from None
    except (ValueError, LookupError):
        raise refuse(" by the Pulumi CLI", "run `pulumi config` to see the error") from None


def _values(reader: StackReader) -> dict[str, str]:
    """The settings in the form in which Pulumi passes them to the program."""
    return {key: str(entry["value"]) for key, entry in reader.config().items()}
