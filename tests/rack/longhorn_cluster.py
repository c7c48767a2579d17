"""A cluster in memory on which the stand-in for Longhorn works."""

from __future__ import annotations

import dataclasses
from typing import Any

import yaml

from tests.e2e.rack.kubernetes.longhorn import manager, provisioner
from tests.e2e.rack.kubernetes.longhorn.objects import ALL
from tests.e2e.rack.proxmox.guests import Guest, GuestDisk
from tests.e2e.rack.talos.config import MachineConfig
from tests.e2e.rack.talos.hand import Hand
from tests.e2e.rack.talos.machine import Installation, Machine

from .fake_kubernetes import FakeKubernetesApi, Thing
from .machine_configs import ClusterSecrets

GIB, MIB = 1024**3, 1024**2
DATA = 43 * GIB - 66 * MIB
"""Bytes of a user volume on a disk of 43 GiB."""
EPHEMERAL = 34 * GIB - 2268 * MIB
"""Bytes of EPHEMERAL on an OS disk of 34 GiB."""
SYSTEM = "/api/v1/namespaces/longhorn-system"
MANAGER = "/apis/apps/v1/namespaces/longhorn-system/daemonsets/longhorn-manager"
CLASS = "/apis/storage.k8s.io/v1/storageclasses/longhorn"
LABEL = "node.longhorn.io/create-default-disk"
CONFIG = ClusterSecrets().config("worker", "worker", selector="!system_disk")
SETTINGS = {
    "create-default-disk-labeled-nodes": "true",
    "default-data-path": "/var/mnt/longhorn",
    "storage-minimal-available-percentage": "10",
    "storage-reserved-percentage-for-default-disk": "0",
}


class LonghornCluster:
    """Machines with power, and the objects that Kubernetes and Longhorn have of them."""

    def __init__(self, **settings: str) -> None:
        self.api = FakeKubernetesApi()
        self.hand = Hand()
        self.machines: dict[str, Machine] = {}
        self.configure(**settings)
        self.set_engine("longhornio/longhorn-engine:v1.12.1")
        self.api.put(f"{SYSTEM}/configmaps/longhorn-storageclass", {})  # while it is there

    def configure(self, **settings: str) -> None:
        """Give Longhorn other settings, by their names with underscores."""
        given = SETTINGS | {name.replace("_", "-"): value for name, value in settings.items()}
        data = {"default-setting.yaml": yaml.safe_dump(given)}
        self.api.put(f"{SYSTEM}/configmaps/longhorn-default-setting", {"data": data})

    def set_engine(self, image: str) -> None:
        """Install the longhorn-manager of another release."""
        command = ["longhorn-manager", "-d", "daemon", "--engine-image", image]
        containers = [{"name": "longhorn-manager", "command": command}]
        spec = {"template": {"spec": {"containers": containers}}}
        self.api.put(MANAGER, {"spec": spec, "status": {}})

    def add_node(
        self,
        name: str,
        *,
        zone: str = "",
        data_gib: int | None = 43,
        extra_mounts: dict[str, str] | None = None,
    ) -> Machine:
        """A machine with power, its Kubernetes node, and Longhorn's manager on it."""
        disks = [_disk(f"{name}-os", 34, is_boot_disk=True)]
        disks += [_disk(f"{name}-data", data_gib)] if data_gib else []
        documents: list[Any] = list(yaml.safe_load_all(CONFIG))
        documents[-2]["hostname"] = name
        documents[0]["machine"]["kubelet"] = {
            "extraMounts": [
                {"destination": destination, "source": source}
                for destination, source in (extra_mounts or {}).items()
            ]
        }
        guest = Guest(
            vmid=1, name=name, address="127.0.0.1", memory=GIB, cores=1, disks=tuple(disks)
        )
        config = MachineConfig.parse(yaml.safe_dump_all(documents).encode())
        installation = Installation(config=config)
        installation.partitions.provision(config, guest, boots=True)
        machine = Machine(guest, installation, lambda _: ())
        labels = {LABEL: "true"} if data_gib else {}
        labels |= {"topology.kubernetes.io/zone": zone} if zone else {}
        ready = {"conditions": [{"type": "Ready", "status": "True"}]}
        node = {"metadata": {"labels": labels}, "spec": {}, "status": ready}
        self.api.put(f"/api/v1/nodes/{name}", node)
        pod = {
            "metadata": {"labels": {"app": "longhorn-manager"}},
            "spec": {"nodeName": name},
            "status": {"phase": "Running", **ready},
        }
        self.api.put(f"{SYSTEM}/pods/longhorn-manager-{name}", pod)
        self.machines[name] = machine
        return machine

    def cut_power(self, name: str) -> Machine:
        """Let a machine go down."""
        self._report(name, "Unknown", "NodeStatusUnknown")
        return self.machines.pop(name)

    def restore_power(self, name: str, machine: Machine) -> None:
        """Let a machine come back."""
        self._report(name, "True", "KubeletReady")
        self.machines[name] = machine

    def replace_data_disk(self, name: str) -> None:
        """Give a machine a blank data disk, and boot it."""
        machine = self.machines[name]
        blank = _disk(f"{name}-blank", 43)
        machine.guest = dataclasses.replace(machine.guest, disks=(machine.guest.disks[0], blank))
        machine.installation.partitions.provision(machine.config, machine.guest, boots=True)

    def add_volume(self, name: str, *, replicas: int, gib: int = 2, policy: str = "Delete") -> None:
        """A bound claim, its persistent volume, and the class that both are of."""
        self.set_class(replicas)
        claim = {
            "metadata": {"uid": name},
            "spec": {"volumeName": name, "accessModes": ["ReadWriteOnce"]},
            "status": {"phase": "Bound"},
        }
        self.api.put(f"/api/v1/namespaces/default/persistentvolumeclaims/{name}", claim)
        volume = {
            "spec": {
                "capacity": {"storage": f"{gib}Gi"},
                "claimRef": {"namespace": "default", "name": name},
                "csi": {"driver": "driver.longhorn.io"},
                "persistentVolumeReclaimPolicy": policy,
                "storageClassName": "longhorn",
            },
            "status": {"phase": "Bound"},
        }
        self.api.put(f"/api/v1/persistentvolumes/{name}", volume)

    def set_class(self, replicas: int) -> None:
        """The class of volumes that are made from now on."""
        spec = {"provisioner": "driver.longhorn.io"}
        self.api.put(CLASS, spec | {"parameters": {"numberOfReplicas": str(replicas)}})

    def use(self, volume: str, node: str, pod: str = "user", owner: str = "ReplicaSet") -> Thing:
        """A pod on a node that uses a volume."""
        claim = {"name": "data", "persistentVolumeClaim": {"claimName": volume}}
        thing = {
            "metadata": {"ownerReferences": [{"kind": owner, "name": owner}]},
            "spec": {"nodeName": node, "volumes": [claim]},
            "status": {"phase": "Running"},
        }
        return self.api.put(f"/api/v1/namespaces/default/pods/{pod}", thing)

    def release(self, pod: str = "user") -> None:
        """Take a pod away."""
        del self.api.objects[f"/api/v1/namespaces/default/pods/{pod}"]

    async def settle(self, steps: int = 8) -> None:
        """Take some steps."""
        for _ in range(steps):
            await provisioner.provision(self.api)
            await manager.keep(self.api, list(self.machines.values()), self.hand)

    def find(self, kind: str, name: str) -> Thing:
        """One of Longhorn's objects."""
        return self.api.objects[f"{ALL}/{kind}/{name}"]

    def names(self, kind: str) -> list[str]:
        """The names of Longhorn's objects of a kind."""
        base = f"{ALL}/{kind}/"
        return sorted(at.removeprefix(base) for at in self.api.objects if at.startswith(base))

    def disk(self, node: str) -> tuple[Thing, Thing]:
        """The spec and the status of a node's only disk."""
        found = self.find("nodes", node)
        ((name, spec),) = found["spec"]["disks"].items()
        return spec, found["status"]["diskStatus"][name]

    def placed(self, volume: str, *, healthy: bool = True) -> list[str]:
        """The nodes of a volume's replicas that are healthy, or of all."""
        return sorted(
            replica["spec"]["nodeID"]
            for replica in (self.find("replicas", it) for it in self.names("replicas"))
            if replica["spec"]["volumeName"] == volume
            and (not healthy or (replica["spec"]["healthyAt"] and not replica["spec"]["failedAt"]))
        )

    def volume(self, name: str) -> Thing:
        """The status of a volume."""
        status: Thing = self.find("volumes", name)["status"]
        return status

    def set_number(self, volume: str, number: int) -> None:
        """Ask for another number of replicas."""
        self.find("volumes", volume)["spec"]["numberOfReplicas"] = number

    def _report(self, name: str, status: str, reason: str) -> None:
        ready = {"type": "Ready", "status": status, "reason": reason}
        self.api.objects[f"/api/v1/nodes/{name}"]["status"]["conditions"] = [ready]


def _disk(identity: str, gib: int, *, is_boot_disk: bool = False) -> GuestDisk:
    return GuestDisk(
        device="/dev/sda" if is_boot_disk else "/dev/sdb",
        size=gib * GIB,
        serial=identity,
        is_boot_disk=is_boot_disk,
        image_url="https://images.test/image/s/v1.13.9/nocloud" if is_boot_disk else "",
        identity=identity,
    )
