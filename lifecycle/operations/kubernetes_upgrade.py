"""Upgrades Kubernetes with talosctl, which does it node by node."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from clients.errors import OperationError
from clients.talos import talosctl
from clients.talos.talosctl import TalosctlError
from lifecycle.operations.cluster_health import Cluster
from lifecycle.operations.lock import one_at_a_time

LIMIT = 3600
"""Seconds that an upgrade may take: some minutes a node."""


def upgrade(props: Mapping[str, Any]) -> None:
    """Bring the control planes, then every kubelet, to ``props["kubernetes"]``.

    Its dry run comes first, and changes nothing. What has that version already is left alone, so
    that an upgrade that was stopped is taken up by the next one. Raises ``OperationError``.
    """
    talosctl.require(props["talos"])
    with one_at_a_time(props["cluster"], props["return_s"]):
        cluster = Cluster(props)
        cluster.etcd.require_health()
        address = cluster.etcd.members()[0].address
        command = [
            "upgrade-k8s",
            *("--to", props["kubernetes"].removeprefix("v")),
            # Comments would be a difference to the machine config that the castle sends.
            *("--with-docs=false", "--with-examples=false"),
        ]
        try:
            cluster.talos.run(address, *command, "--dry-run", limit=LIMIT)
        except TalosctlError as error:
            raise OperationError(
                f"Kubernetes is not upgraded to {props['kubernetes']}: its dry run says no, and "
                f"nothing has been touched. {error}"
            ) from None
        try:
            cluster.talos.run(address, *command, limit=LIMIT)
        except TalosctlError as error:
            raise OperationError(
                f"Kubernetes' upgrade to {props['kubernetes']} stopped on the way. What is done "
                f"stays done; run `up` again, and it goes on from here. {error}"
            ) from None
