"""Keeps encrypted copies of the Pulumi state in the backup store, next to the certificates.

After a command that changed the state, also if it failed or was interrupted, the state is exported
with encrypted secrets, encrypted as a whole for the stack's age key, and stored. ``make recover``
imports the newest copy if the state is lost (``commands/fetch_state.py``).
"""

from __future__ import annotations

import json
import socket
import time
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from backup.store import BackupError
from clients.pulumi_cli import stack_settings
from clients.pulumi_cli.session import PulumiError, Session
from commands.age_key import KEY as AGE_KEY
from components.traefik import certificate_backup
from preflight.state import running_stack
from settings import stack_file
from settings.models import Settings
from settings.problems import SettingsError
from settings.resource_types import is_resource
from settings.running import RunningStack


@dataclass(frozen=True, kw_only=True)
class StateCopy:
    """A copy of the state."""

    serial: int
    """Number of the copy, one more than that of the copy before."""
    written: datetime
    """When it was written, in UTC."""
    computer: str
    """Name of the computer that wrote it."""
    exported: Mapping[str, Any]
    """The state as the Pulumi CLI exports it, with encrypted secrets."""

    @property
    def has_resources(self) -> bool:
        """Whether the stack had resources, and was not removed."""
        return has_resources(self.exported)

    @property
    def stack(self) -> RunningStack:
        """The stack in this state."""
        resources = (self.exported.get("deployment") or {}).get("resources") or []
        return running_stack((it["type"], it.get("outputs") or {}) for it in resources)

    def to_bytes(self) -> bytes:
        """The copy as JSON."""
        fields = {
            "serial": self.serial,
            "written": self.written.isoformat(),
            "computer": self.computer,
            "exported": self.exported,
        }
        return json.dumps(fields).encode()

    @classmethod
    def from_bytes(cls, content: bytes) -> StateCopy:
        """Read the result of ``to_bytes``. Raises ``BackupError``."""
        try:
            fields = json.loads(content)
            return cls(**fields | {"written": datetime.fromisoformat(fields["written"])})
        except (ValueError, LookupError, TypeError):
            raise BackupError("is not a copy of a state") from None


def copy_name(stack: str) -> str:
    """The name of a stack's copies in the backup store."""
    return f"{stack}-state.age"


def has_resources(exported: Mapping[str, Any]) -> bool:
    """Whether an exported state has resources besides providers and components."""
    resources = (exported.get("deployment") or {}).get("resources") or []
    return any(is_resource(resource["type"]) for resource in resources)


def has_age_key(session: Session) -> bool:
    """Whether the stack file has an age key, which needs no decrypted settings.

    Raises ``SettingsError``.
    """
    file = stack_file.open_file(stack_file.find(session.stack, session.project))
    return file.value(AGE_KEY) is not None


def newest_copy(settings: Settings) -> StateCopy | None:
    """Read the newest copy; ``None`` if there is none, or the stack has no age key.

    Raises ``BackupError``.
    """
    if settings.sops.age_key is None:
        return None
    store, name = certificate_backup.open_store(settings), copy_name(settings.stack)
    sealed = store.read(name)
    if sealed is None:
        return None
    try:
        key = settings.sops.age_key.get_secret_value()
        return StateCopy.from_bytes(certificate_backup.unseal(sealed, key))
    except BackupError as error:
        raise BackupError(f"{store}/{name} {error}") from None


def save(session: Session, *, is_removed: bool) -> None:
    """Store a copy of the state if it differs from the newest copy.

    A state without resources is stored only if ``make down`` has removed the stack
    (``is_removed``): otherwise it is a lost state, and must not replace a copy. Raises nothing: a
    failed copy must not fail the command.
    """
    try:
        if not has_age_key(session):
            return
        settings = stack_settings.settings(session)
        if settings.sops.age_key is None:
            return
        exported = session.exported()
        if not (is_removed or has_resources(exported)):
            return
        saved = _store_if_changed(settings, settings.sops.age_key.get_secret_value(), exported)
    except (PulumiError, SettingsError, BackupError) as error:
        reason = error.without_output if isinstance(error, PulumiError) else error
        print(
            f"No copy of the Pulumi state could be saved: {reason}\nThe next `make up` tries "
            "again.",
            flush=True,
        )
        return
    if saved:
        print(f"Saved an encrypted copy of the Pulumi state: {saved}", flush=True)


def _store_if_changed(settings: Settings, key: str, exported: Mapping[str, Any]) -> str:
    """Returns the path or URL of the new copy; empty if the state has not changed."""
    try:
        last = newest_copy(settings)
    except BackupError:
        last = None  # encrypted for another key: the store keeps it as an older copy
    if last is None and not has_resources(exported):
        return ""  # this stack was never deployed
    if last and _content(last.exported) == _content(exported):
        return ""
    copy = StateCopy(
        serial=last.serial + 1 if last else 1,
        written=datetime.fromtimestamp(time.time(), UTC).replace(microsecond=0),
        computer=socket.gethostname(),
        exported=exported,
    )
    store, name = certificate_backup.open_store(settings), copy_name(settings.stack)
    store.write(name, certificate_backup.seal(copy.to_bytes(), key))
    return f"{store}/{name}"


def _content(exported: Mapping[str, Any]) -> dict[str, Any]:
    """A state without the time at which the engine wrote it."""
    deployment = exported.get("deployment") or {}
    return {key: value for key, value in deployment.items() if key != "manifest"}
