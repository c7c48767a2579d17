"""Longhorn: replicated volumes on the data disks of the nodes, and their backups.

To restore a volume from a backup, use Longhorn's web interface.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any, Literal

import pulumi
import pulumi_kubernetes as kubernetes

from clients.kubernetes.api import CONTROL_PLANE, CONTROL_PLANE_TOLERATION
from clients.kubernetes.longhorn import DATA_PATH, NAMESPACE, STORAGE_CLASS
from components.shared.objects import (
    make_custom_object,
    make_namespace,
    make_release,
    make_secret,
)
from lifecycle.longhorn_storage import LonghornStorage, LonghornStorageArgs
from lifecycle.longhorn_upgrade import upgrade_check
from lifecycle.operations.storage_health import data_disks
from settings.backups import S3, VolumeBackup, bucket_of
from settings.chart_source import ChartSource
from settings.models import Settings
from settings.storage import MINIMAL_AVAILABLE_PERCENT, RESERVED_PERCENT

ACCOUNT_SECRET = "castle-backup"
RECLAIM_POLICIES = {"retain": "Retain", "delete": "Delete"}
"""Value of ``longhorn.reclaim_policy`` and the reclaim policy of the storage class."""
CLAIMS = ("traefik/traefik-certificates",)
"""Claims that this program creates, as ``NAMESPACE/NAME``."""


@dataclass(frozen=True, kw_only=True)
class LonghornArgs:
    """Arguments of ``Longhorn``."""

    chart: ChartSource
    """The Helm chart."""
    replicas: int
    """Copies of each new volume; at most the number of nodes with a data disk."""
    reclaim_policy: Literal["retain", "delete"]
    """What Longhorn does with the data of a deleted claim."""
    backup: VolumeBackup | None
    """Target, schedule and number of backups; ``None`` if volumes are not backed up."""
    s3: S3 | None
    """Account for the bucket; required if the backup target is a bucket."""
    storage: LonghornStorageArgs
    """Arguments of the storage check that runs before the first claim."""

    @classmethod
    def of(cls, settings: Settings, kubeconfig: pulumi.Input[str]) -> LonghornArgs:
        """Create the arguments from the settings; ``kubeconfig`` is for the storage check."""
        return cls(
            chart=ChartSource.of("longhorn", settings.longhorn),
            replicas=settings.replicas,
            reclaim_policy=settings.longhorn.reclaim_policy,
            backup=settings.longhorn.backup,
            s3=settings.s3,
            storage=_storage(settings, kubeconfig),
        )

    @property
    def account(self) -> S3 | None:
        """The S3 account if the backup target is a bucket, otherwise ``None``."""
        return self.s3 if self.backup and bucket_of(self.backup.target) else None


class Longhorn(pulumi.ComponentResource):
    """Namespace, Helm release, storage check and backup job of Longhorn."""

    storage_class: str
    """Name of the storage class. A resource with a claim must depend on this component."""

    def __init__(
        self, name: str, args: LonghornArgs, opts: pulumi.ResourceOptions | None = None
    ) -> None:
        super().__init__("ephemeral-castle:index:Longhorn", name, None, opts)
        self.storage_class = STORAGE_CLASS
        namespace = make_namespace(self, f"{name}-namespace", NAMESPACE, "privileged")
        needed: list[pulumi.Resource] = [namespace]
        if args.account:
            needed.append(self._credentials(f"{name}-backup-account", args.account, namespace))
        release = make_release(
            self,
            f"{name}-release",
            NAMESPACE,
            args.chart,
            values(args),
            needed,
            # The chart's uninstall job has a deadline of 900 s (activeDeadlineSeconds).
            minutes=20,
            hooks=upgrade_check(args.storage.kubeconfig),
        )
        opts = pulumi.ResourceOptions(parent=self, depends_on=[release])
        LonghornStorage(f"{name}-storage", args.storage, opts)
        if args.backup:
            self._regular_backups(f"{name}-backup", args.backup, release)
        self.register_outputs({"storage_class": self.storage_class})

    def _credentials(
        self, name: str, account: S3, namespace: pulumi.Resource
    ) -> kubernetes.core.v1.Secret:
        """Create the Secret for the bucket (keys: longhorn.io, Setting a Backup Target)."""
        data = {
            "AWS_ACCESS_KEY_ID": account.access_key,
            "AWS_SECRET_ACCESS_KEY": account.secret_key.get_secret_value(),
            "AWS_ENDPOINTS": account.endpoint,
            **({"AWS_CERT": account.certificate} if account.certificate else {}),
        }
        return make_secret(self, name, NAMESPACE, ACCOUNT_SECRET, data, [namespace])

    def _regular_backups(self, name: str, backup: VolumeBackup, release: pulumi.Resource) -> None:
        """Create the job that backs up every volume without its own job (group ``default``)."""
        make_custom_object(
            self,
            name,
            NAMESPACE,
            "backup",
            "longhorn.io/v1beta2/RecurringJob",
            {
                "name": "backup",
                "task": "backup",
                "groups": ["default"],
                "cron": backup.schedule,
                "retain": backup.retain,
                "concurrency": 1,
            },
            # Longhorn's webhook checks every job. The release waits for the manager pod, which is
            # ready only when its webhook answers.
            [release],
        )


def _storage(settings: Settings, kubeconfig: pulumi.Input[str]) -> LonghornStorageArgs:
    disks = data_disks(settings)
    return LonghornStorageArgs(
        data_disks=disks,
        other_nodes=[node.name for node in settings.machines if node.name not in disks],
        replicas=settings.replicas,
        claims=CLAIMS,
        chart_version=settings.longhorn.chart_version,
        rebuild_s=settings.timeouts.rebuild_s,
        restored=settings.cluster.restore_from is not None,
        kubeconfig=kubeconfig,
    )


def values(args: LonghornArgs) -> dict[str, Any]:
    """Return the chart values. The chart has no schema, so Helm silently ignores unknown keys."""
    settings: dict[str, Any] = {
        "defaultDataPath": DATA_PATH,
        # Longhorn uses only nodes with the label that the machine config sets on nodes with a data
        # disk.
        "createDefaultDiskLabeledNodes": True,
        # Only Longhorn uses the disk. The defaults, 30 and 25, are for a disk that is shared with
        # the operating system (longhorn.io, Best Practices: Minimal Available Storage).
        "storageReservedPercentageForDefaultDisk": RESERVED_PERCENT,
        "storageMinimalAvailablePercentage": MINIMAL_AVAILABLE_PERCENT,
        # Longhorn puts copies into different zones (Proxmox hosts) if they have space. With this
        # setting it moves a copy back after a host was down and all copies were on the other host
        # (harvester#2323).
        "replicaAutoBalance": "least-effort",
        # Otherwise a pod with a volume stays on a failed node until somebody deletes the pod
        # (harvester#5830).
        "nodeDownPodDeletionPolicy": "delete-both-statefulset-and-deployment-pod",
        # Otherwise the backup job skips every volume that no pod uses (longhorn#1509).
        "allowRecurringJobWhileVolumeDetached": True,
        # Otherwise volumes keep the engine version with which they were created, and a later minor
        # version of Longhorn does not start (longhorn-manager v1.12.1 upgrade/util
        # checkEngineUpgradePath).
        "concurrentAutomaticEngineUpgradePerNodeLimit": 1,
        "defaultReplicaCount": json.dumps({"v1": str(args.replicas), "v2": str(args.replicas)}),
        # Otherwise the uninstall job fails, and the namespace cannot be deleted (longhorn#5187).
        "deletingConfirmationFlag": True,
        # Set from the first release on, because Longhorn applies it only while no volume is
        # attached (longhorn#8524). With the exposure host-network, Traefik's volume is on a
        # control plane.
        "taintToleration": f"{CONTROL_PLANE}:NoSchedule",
    }
    return {
        "defaultBackupStore": {
            "backupTarget": args.backup.target if args.backup else "",
            "backupTargetCredentialSecret": ACCOUNT_SECRET if args.account else "",
        },
        # Number of copies for claims. defaultReplicaCount above is only for volumes that are
        # created in Longhorn's web interface.
        "persistence": {
            "defaultClass": True,
            "defaultClassReplicaCount": args.replicas,
            "reclaimPolicy": RECLAIM_POLICIES[args.reclaim_policy],
        },
        "defaultSettings": settings,
        "longhornUI": {"replicas": 1},
        # On by default since 1.12.1. If the CNI enforces network policies, it blocks iSCSI
        # connections from the host.
        "networkPolicies": {"restrictInternalTraffic": False},
        "longhornManager": {"tolerations": [CONTROL_PLANE_TOLERATION]},
        "longhornDriver": {"tolerations": [CONTROL_PLANE_TOLERATION]},
    }
