"""A storage record of a cluster with one problem of each kind."""

from __future__ import annotations

from clients.kubernetes.longhorn import PATH, read_storage
from doctor.storage_record import StorageRecord
from settings.models import Settings
from tests.longhorn_objects import CAPACITY, GIB, LonghornObjects
from tests.report.certificates import NOW


def record_of(settings: Settings) -> StorageRecord:
    """A record at ``NOW``: all disks, three volumes, and a backup target that is not available."""
    found = LonghornObjects()
    nodes = [it for it in settings.machines if it.data_disk_gib]
    for number, node in enumerate(nodes):
        size = CAPACITY + ((node.data_disk_gib or 0) - 43) * GIB
        found.add_node(node.name, node.host, size, free=size - (5 + 6 * number % 30) * GIB)
    names = tuple(it.name for it in nodes[:2])
    found.add_volume("pvc-1", "traefik/traefik-certificates", names)
    degraded = found.add_volume("pvc-2", "database/data", names[:1])
    degraded["spec"]["numberOfReplicas"] = 2
    degraded["status"]["currentImage"] = "longhornio/longhorn-engine:v1.11.2"
    degraded["status"]["robustness"] = "degraded"
    released = found.add_volume("pvc-3", "old/data", names)
    released["status"] |= {"state": "detached", "robustness": "unknown"}
    released["status"]["kubernetesStatus"]["pvStatus"] = "Released"
    for volume in found.items(f"{PATH}/volumes")[:2]:
        volume["status"]["lastBackupAt"] = "2026-11-21T03:00:00Z"
    found.add("backupvolumes", "gone", spec={"volumeName": "gone"}, status={"dataStored": "1"})
    reason = "mount.nfs4: access denied by server while mounting 192.168.1.5:/backups"
    found.add(
        "backuptargets",
        "default",
        spec={"backupTargetURL": "nfs://192.168.1.5:/backups"},
        status={
            "available": False,
            "conditions": [{"type": "Unavailable", "status": "True", "message": reason}],
        },
    )
    storage = read_storage(found)
    assert storage
    return StorageRecord(moment=NOW, storage=storage)
