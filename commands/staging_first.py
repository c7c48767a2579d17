"""Asks before Let's Encrypt's production server is used for a host that staging never signed.

Production counts failed tries: five an hour for a host, and then it is silent
(letsencrypt.org/docs/rate-limits). Staging shows for nothing whether the way in works.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import yaml

from backup.store import BackupError
from clients.pulumi_cli import stack_settings
from clients.pulumi_cli.session import Session, SessionError
from commands import acme_record, backup
from commands.ask import confirmed
from components.traefik import certificate_backup
from settings.groups import PROJECT
from settings.models import Settings
from settings.problems import SettingsError
from settings.project import PROJECT_FOLDER


def agreed(session: Session, more: Sequence[str]) -> bool:
    """Tell whether ``up`` may begin; ``more`` are its words for the CLI."""
    if not _may_be_production(session):
        return True
    try:
        settings = stack_settings.settings(session)
    except (SessionError, SettingsError):
        return True  # the program will say the same, and better
    if settings.traefik.acme.server != "production" or _has_worked(session, settings):
        return True
    host = settings.whoami.host
    print(f"Let's Encrypt's staging server has not signed for {host} yet, as far as is known here.")
    what = (
        "use production all the same: it counts failed tries, five an hour for a host. With "
        "`traefik.acme.server: staging` the way in is tried for nothing"
    )
    return confirmed([what], "Go on?", more)


def _may_be_production(session: Session) -> bool:
    """Whether the stack file says so in plain text, as it does where nobody hid it."""
    file = PROJECT_FOLDER / f"Pulumi.{session.stack}.yaml"
    config: Any = (yaml.safe_load(file.read_text(encoding="utf-8")) or {}).get("config") or {}
    groups = (config.get(name) for name in (f"{PROJECT}:traefik", "traefik"))
    acmes = (group.get("acme") for group in groups if isinstance(group, dict))
    return any(isinstance(acme, dict) and acme.get("server") == "production" for acme in acmes)


def _has_worked(session: Session, settings: Settings) -> bool:
    """Whether a certificate for the host is known, kept, or in the castle that stands."""
    return _is_known(settings) or _is_kept(settings) or _is_in_the_castle(session, settings)


def _is_known(settings: Settings) -> bool:
    signed = acme_record.load(PROJECT_FOLDER, settings.stack)
    return any(it.certificate.is_good_for(settings.whoami.host) for it in signed)


def _is_kept(settings: Settings) -> bool:
    """What is kept of production is a castle's that had worked, maybe on another machine."""
    name = certificate_backup.name_of(settings.stack, "production")
    try:
        return certificate_backup.place_of(settings).read(name) is not None
    except BackupError:
        return False


def _is_in_the_castle(session: Session, settings: Settings) -> bool:
    try:
        backup.look(session)
    except (backup.NoCastleError, BackupError):
        return False
    return _is_known(settings)
