"""Upgrades Kubernetes with ``talosctl upgrade-k8s``, node by node."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from clients.errors import OperationError
from clients.talos import talosctl
from clients.talos.talosctl import TalosctlError
from lifecycle.operations.cluster_health import Cluster
from lifecycle.operations.lock import cluster_lock

UPGRADE_TIMEOUT_S = 3600
"""Seconds for the whole upgrade, which takes some minutes per node."""


def upgrade(props: Mapping[str, Any]) -> None:
    """Upgrade the control planes, then all kubelets, to ``props["kubernetes"]``.

    A dry run comes first. Components that have this version are skipped, so the next run continues
    an upgrade that was stopped. ``props`` are the inputs of ``KubernetesVersion``. Raises
    ``OperationError``.
    """
    talosctl.require(props["talos"])
    with cluster_lock(props["cluster"], props["return_s"]):
        cluster = Cluster(props)
        cluster.etcd.require_health()
        address = cluster.etcd.members()[0].address
        command = [
            "upgrade-k8s",
            *("--to", props["kubernetes"].removeprefix("v")),
            # Otherwise talosctl adds comments, and the machine config differs from the one that the
            # Talos provider sends.
            *("--with-docs=false", "--with-examples=false"),
        ]
        try:
            cluster.talos.run(address, *command, "--dry-run", limit=UPGRADE_TIMEOUT_S)
        except TalosctlError as error:
            raise OperationError(
                f"Kubernetes was not upgraded to {props['kubernetes']}, because the dry run "
                f"failed. Nothing has been touched. {error}"
            ) from None
        try:
            cluster.talos.run(address, *command, limit=UPGRADE_TIMEOUT_S)
        except TalosctlError as error:
            raise OperationError(
                f"The upgrade of Kubernetes to {props['kubernetes']} stopped before its end. Run "
                f"`up` again: it continues from here. {error}"
            ) from None
