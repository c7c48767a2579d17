"""``make snapshot``: save a snapshot of etcd, and print its path and how to restore it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from clients.errors import OperationError
from clients.pulumi_cli import stack_settings, state
from clients.pulumi_cli.session import PulumiError, Session
from clients.talos.credentials import Authority
from clients.tls import ClientCredentials
from lifecycle.operations import snapshots
from settings.problems import SettingsError
from settings.resource_types import SECRETS


def snapshot(session: Session) -> int:
    """Take and save a snapshot; returns an exit code."""
    try:
        settings = stack_settings.settings(session)
        credentials = talos_credentials(session.resources(secrets=True))
        if credentials is None:
            print(f"The stack {session.stack} has no cluster yet, so there is no etcd to save.")
            return 1
        addresses = [str(node.address) for node in settings.control_planes]
        archive = snapshots.take_snapshot(credentials, addresses)
        path = snapshots.store_snapshot(archive, settings.stack_tag, settings.age_recipient)
    except (PulumiError, SettingsError, OperationError, OSError) as error:
        print(f"No snapshot was taken: {error}")
        return 1
    _print_result(path, session.project)
    return 0


def _print_result(path: Path, project: Path) -> None:
    shown = path.relative_to(project) if path.is_relative_to(project) else path
    print(
        f"Saved a snapshot of etcd: {shown}, {path.stat().st_size / 1e6:.1f} MB. Only the "
        f"newest {snapshots.MAX_FILES} snapshots of a stack are kept here; to keep this one "
        "longer, copy it."
    )
    if path.name.endswith(snapshots.ENCRYPTED_SUFFIX):
        print(
            "It is encrypted for sops.age_key and contains the machine secrets. To restore it: run "
            f"`make down`, set cluster.restore_from: {shown}, then run `make up`."
        )
    else:
        print(
            "It is in PLAIN TEXT and lacks the machine secrets, so no cluster can be restored from "
            "it. For a complete snapshot, run `make age-key`, then `make snapshot`."
        )


def talos_credentials(resources: Iterable[Mapping[str, Any]]) -> ClientCredentials | None:
    """Issue Talos credentials from the CA in the state; ``None`` if the state has no cluster.

    ``resources`` are the resources of the state, with secrets in plain text.
    """
    for resource in resources:
        if resource["type"] == SECRETS and "outputs" in resource:
            certificates = state.opened(
                state.opened(resource["outputs"]["machineSecrets"])["certs"]
            )
            pair = state.opened(certificates["os"])
            authority = Authority(state.opened(pair["cert"]), state.opened(pair["key"]))
            return authority.admin_of_talos(authority.life)
    return None
