"""Asks before ``make up`` uses Let's Encrypt's production server for a host without certificate.

The production server allows five failed validations per host and hour, then rejects requests
(letsencrypt.org/docs/rate-limits). The staging server shows without that limit whether DNS records
and port forwarding work.
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


def confirm_production(session: Session, cli_args: Sequence[str]) -> bool:
    """Tell whether ``up`` may continue; asks if no certificate for the host is known yet.

    A yes flag in ``cli_args`` answers the question.
    """
    if not _names_production(session):
        return True
    try:
        settings = stack_settings.settings(session)
    except (SessionError, SettingsError):
        return True  # the Pulumi program reports wrong settings in detail
    if settings.traefik.acme.server != "production" or _has_certificate(session, settings):
        return True
    host = settings.whoami.host
    print(f"No certificate of Let's Encrypt for {host} is known yet, not even a staging one.")
    effect = (
        "use the production server anyway. It allows five failed validations per host and hour. To "
        "test DNS and port forwarding without that limit, set `traefik.acme.server: staging`"
    )
    return confirmed([effect], "Continue?", cli_args)


def _names_production(session: Session) -> bool:
    """Tell whether ``traefik.acme.server`` is ``production`` in plain text in the stack file."""
    file = PROJECT_FOLDER / f"Pulumi.{session.stack}.yaml"
    config: Any = (yaml.safe_load(file.read_text(encoding="utf-8")) or {}).get("config") or {}
    groups = (config.get(name) for name in (f"{PROJECT}:traefik", "traefik"))
    acmes = (group.get("acme") for group in groups if isinstance(group, dict))
    return any(isinstance(acme, dict) and acme.get("server") == "production" for acme in acmes)


def _has_certificate(session: Session, settings: Settings) -> bool:
    """Tell whether the record, a backup or the running cluster has a certificate for the host."""
    return _is_in_record(settings) or _is_in_backup(settings) or _is_in_cluster(session, settings)


def _is_in_record(settings: Settings) -> bool:
    signed = acme_record.load(PROJECT_FOLDER, settings.stack)
    return any(it.certificate.is_good_for(settings.whoami.host) for it in signed)


def _is_in_backup(settings: Settings) -> bool:
    """Tell whether there is a backup of production certificates, perhaps of another computer."""
    name = certificate_backup.backup_name(settings.stack, "production")
    try:
        return certificate_backup.open_store(settings).read(name) is not None
    except BackupError:
        return False


def _is_in_cluster(session: Session, settings: Settings) -> bool:
    try:
        backup.record_certificates(session)
    except (backup.NoClusterError, BackupError):
        return False
    return _is_in_record(settings)
