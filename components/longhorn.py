"""Longhorn: volumes on the data disks, each kept on several nodes.

Leaves out restoring from a backup: that is a person's choice, in Longhorn's own interface.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any, Literal

import pulumi
import pulumi_kubernetes as kubernetes

from clients.kubernetes import control_plane
from clients.kubernetes.longhorn import DATA_PATH, NAMESPACE, STORAGE_CLASS
from components.shared.namespace import make_namespace
from components.shared.secret import make_secret
from lifecycle.longhorn_storage import LonghornStorage, LonghornStorageArgs
from lifecycle.longhorn_upgrade import upgrade_check
from lifecycle.operations.storage_health import data_disks
from settings.backups import S3, VolumeBackup, bucket_of
from settings.chart_source import ChartSource
from settings.models import Settings
from settings.storage import MINIMAL_AVAILABLE_PERCENT, RESERVED_PERCENT

ACCOUNT_SECRET = "castle-backup"
RECLAIM_POLICIES = {"retain": "Retain", "delete": "Delete"}
"""Our word for what happens to the data of a deleted claim, and Kubernetes' own."""
CLAIMS = ("traefik/traefik-certificates",)
"""The claims that the stack makes itself, ``NAMESPACE/NAME``."""


@dataclass(frozen=True, kw_only=True)
class LonghornArgs:
    """How to keep volumes."""

    chart: ChartSource
    """The Helm chart."""
    replicas: int
    """Copies of each new volume; at most the number of nodes with a data disk."""
    reclaim_policy: Literal["retain", "delete"]
    """What happens to the data of a claim that is deleted."""
    backup: VolumeBackup | None
    """Where backups go, when, and how many are kept; none without."""
    s3: S3 | None
    """The account that a bucket is reached by; there is one where they go to a bucket."""
    storage: LonghornStorageArgs
    """What must be true before anything claims a volume."""

    @classmethod
    def of(cls, settings: Settings, kubeconfig: pulumi.Input[str]) -> LonghornArgs:
        """The storage that a stack asks for."""
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
        """The account that backups need."""
        return self.s3 if self.backup and bucket_of(self.backup.target) else None


class Longhorn(pulumi.ComponentResource):
    """Longhorn on its own disk."""

    storage_class: str
    """Name of the storage class. Depend on this component before claiming a volume of it."""

    def __init__(
        self, name: str, args: LonghornArgs, opts: pulumi.ResourceOptions | None = None
    ) -> None:
        super().__init__("ephemeral-castle:index:Longhorn", name, None, opts)
        self.storage_class = STORAGE_CLASS
        namespace = make_namespace(self, f"{name}-namespace", NAMESPACE, "privileged")
        needed: list[pulumi.Resource] = [namespace]
        if args.account:
            needed.append(self._credentials(f"{name}-backup-account", args.account, namespace))
        release = kubernetes.helm.v3.Release(
            f"{name}-release",
            name="longhorn",
            namespace=NAMESPACE,
            **args.chart.release_args(),
            values=values(args),
            # The uninstall job alone may take 900 s (facts/charts.md 4).
            timeout=1200,
            opts=pulumi.ResourceOptions(
                parent=self,
                depends_on=needed,
                custom_timeouts=pulumi.CustomTimeouts(create="20m", update="20m", delete="20m"),
                hooks=upgrade_check(args.storage.kubeconfig),
            ),
        )
        opts = pulumi.ResourceOptions(parent=self, depends_on=[release])
        LonghornStorage(f"{name}-storage", args.storage, opts)
        if args.backup:
            self._regular_backups(f"{name}-backup", args.backup, release)
        self.register_outputs({"storage_class": self.storage_class})

    def _credentials(
        self, name: str, account: S3, namespace: pulumi.Resource
    ) -> kubernetes.core.v1.Secret:
        """What opens a bucket, in Longhorn's words (longhorn.io, Setting a Backup Target)."""
        data = {
            "AWS_ACCESS_KEY_ID": account.access_key,
            "AWS_SECRET_ACCESS_KEY": account.secret_key.get_secret_value(),
            "AWS_ENDPOINTS": account.endpoint,
            **({"AWS_CERT": account.certificate} if account.certificate else {}),
        }
        opts = pulumi.ResourceOptions(depends_on=[namespace])
        return make_secret(self, name, ACCOUNT_SECRET, NAMESPACE, data, opts)

    def _regular_backups(self, name: str, backup: VolumeBackup, release: pulumi.Resource) -> None:
        """Back up every volume that has no job of its own: Longhorn's group ``default``."""
        kubernetes.apiextensions.CustomResource(
            name,
            api_version="longhorn.io/v1beta2",
            kind="RecurringJob",
            metadata={"name": "backup", "namespace": NAMESPACE},
            spec={
                "name": "backup",
                "task": "backup",
                "groups": ["default"],
                "cron": backup.schedule,
                "retain": backup.retain,
                "concurrency": 1,
            },
            opts=pulumi.ResourceOptions(
                parent=self,
                # Its manager is ready once its webhook serves, which asks to see every job.
                depends_on=[release],
                custom_timeouts=pulumi.CustomTimeouts(create="5m", update="5m", delete="5m"),
            ),
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
    """Values of the chart. It has no schema: an unknown key is silently nothing."""
    settings: dict[str, Any] = {
        "defaultDataPath": DATA_PATH,
        # Only on nodes with a label that the machine config sets on nodes with a data disk.
        "createDefaultDiskLabeledNodes": True,
        # The disk serves Longhorn alone. The defaults, 30 and 25, are meant for a disk that is
        # shared with the operating system (longhorn.io, Best Practices: Minimal Available Storage).
        "storageReservedPercentageForDefaultDisk": RESERVED_PERCENT,
        "storageMinimalAvailablePercentage": MINIMAL_AVAILABLE_PERCENT,
        # Copies go to different zones, which are the Proxmox hosts, if there is room. If a host was
        # away and both copies are on the other one, Longhorn moves one back (harvester#2323).
        "replicaAutoBalance": "least-effort",
        # Without it a pod with a volume stays on a dead node until somebody deletes it
        # (harvester#5830).
        "nodeDownPodDeletionPolicy": "delete-both-statefulset-and-deployment-pod",
        # Without it the backup job skips every volume that no pod uses (longhorn#1509).
        "allowRecurringJobWhileVolumeDetached": True,
        # Without it volumes keep the engine of the Longhorn that made them, and a later minor
        # version refuses to start (longhorn-manager v1.12.1 upgrade/util checkEngineUpgradePath).
        "concurrentAutomaticEngineUpgradePerNodeLimit": 1,
        "defaultReplicaCount": json.dumps({"v1": str(args.replicas), "v2": str(args.replicas)}),
        # Without it the uninstall job fails, and its namespace never goes (longhorn#5187).
        "deletingConfirmationFlag": True,
        # From birth: Longhorn applies it only while no volume is attached (longhorn#8524), and
        # Traefik's volume follows it to a control plane when its exposure is host-network.
        "taintToleration": f"{control_plane.LABEL}:NoSchedule",
    }
    return {
        "defaultBackupStore": {
            "backupTarget": args.backup.target if args.backup else "",
            "backupTargetCredentialSecret": ACCOUNT_SECRET if args.account else "",
        },
        # The one that matters: replicas of the storage class.
        "persistence": {
            "defaultClass": True,
            "defaultClassReplicaCount": args.replicas,
            "reclaimPolicy": RECLAIM_POLICIES[args.reclaim_policy],
        },
        "defaultSettings": settings,
        "longhornUI": {"replicas": 1},
        # On by default since 1.12.1; blocks iSCSI from the host where policies are enforced.
        "networkPolicies": {"restrictInternalTraffic": False},
        "longhornManager": {"tolerations": [control_plane.TOLERATION]},
        "longhornDriver": {"tolerations": [control_plane.TOLERATION]},
    }
