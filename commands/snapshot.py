"""Takes a snapshot of a living castle's etcd, and says where it lies and how to restore it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from clients.errors import OperationError
from clients.pulumi_cli import stack_settings, state
from clients.pulumi_cli.session import Session, SessionError
from clients.talos.credentials import Authority
from lifecycle.operations import snapshots
from settings.problems import SettingsError
from settings.project import PROJECT_FOLDER

MACHINE_SECRETS = "talos:machine/secrets:Secrets"


def snapshot(session: Session) -> int:
    """Take and keep a snapshot; returns an exit code."""
    try:
        settings = stack_settings.settings(session)
        credentials = _credentials(session.deployment(secrets=True).get("resources") or ())
        if credentials is None:
            print(f"The stack {session.stack} has no cluster yet: there is nothing to keep.")
            return 1
        addresses = [str(node.address) for node in settings.control_planes]
        archive = snapshots.take(credentials, addresses)
        path = snapshots.keep(archive, settings.stack_tag, settings.age_recipient)
    except (SessionError, SettingsError, OperationError, OSError) as error:
        print(f"No snapshot was taken: {error}")
        return 1
    _tell(path)
    return 0


def _tell(path: Path) -> None:
    shown = path.relative_to(PROJECT_FOLDER) if path.is_relative_to(PROJECT_FOLDER) else path
    print(
        f"{shown}, {path.stat().st_size / 1e6:.1f} MB: a snapshot of etcd. The newest "
        f"{snapshots.KEPT} of a castle stay; copy it elsewhere to keep it."
    )
    if path.name.endswith(snapshots.SEALED):
        print(
            "It is encrypted for sops.age_key, with the machine secrets in it. To restore it: "
            f"`make down`, set cluster.restore_from: {shown}, `make up`."
        )
    else:
        print(
            "It is in PLAIN TEXT and without the machine secrets, so no new castle can be restored "
            "from it: make a key with `make age-key`, then `make snapshot` again."
        )


def _credentials(resources: Iterable[Mapping[str, Any]]) -> Mapping[str, Any] | None:
    """The Talos credentials of a state whose secrets are open; none where there is no cluster."""
    for resource in resources:
        if resource["type"] == MACHINE_SECRETS and "outputs" in resource:
            certificates = state.opened(
                state.opened(resource["outputs"]["machineSecrets"])["certs"]
            )
            pair = state.opened(certificates["os"])
            authority = Authority(state.opened(pair["cert"]), state.opened(pair["key"]))
            return vars(authority.admin_of_talos(authority.life))
    return None
