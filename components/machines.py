"""The virtual machines: fixed ids, fixed addresses, an OS disk and a data disk.

Leaves out everything inside of them: that is Talos' (``cluster.py``).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network
from typing import Any

import pulumi
import pulumi_proxmoxve as proxmoxve

from clients.proxmox.guests import mac_address, pool_comment
from lifecycle.retained_disk import RetainedDisk
from settings.groups import Endpoint
from settings.models import Settings
from settings.node import Node, Role
from settings.running import RunningStack


@dataclass(frozen=True, kw_only=True)
class MachinesArgs:
    """What machines to have, and what they are made of."""

    nodes: Sequence[Node]
    """The machines, as planned by the settings."""
    image_ids: Mapping[str, pulumi.Input[str]]
    """By host: the disk image that OS disks are imported from."""
    datastore: str
    """Storage on each host, with content type ``images``."""
    bridge: str
    """Proxmox bridge of the machines' one network device."""
    vlan: int | None
    """VLAN tag of that device, or none."""
    cidr: IPv4Network
    """The network of the addresses."""
    gateway: IPv4Address
    """The router."""
    nameservers: Sequence[IPv4Address]
    """DNS servers."""
    pool: str | None
    """Resource pool to make for the machines, or none."""
    proxmox: Endpoint
    """How Proxmox is reached, for disks that are kept."""
    stack_tag: str
    """Identity of the castle: a tag on each machine, by which it knows its own."""
    running: RunningStack
    """What the stack runs: a machine that has never come up is replaced if it changes."""
    hooks: Mapping[str, pulumi.ResourceHookBinding]
    """By node name: hooks that refuse a VM whose id is taken (``preflight/machines.py``)."""

    @classmethod
    def of(
        cls,
        settings: Settings,
        image_ids: Mapping[str, pulumi.Input[str]],
        hooks: Mapping[str, pulumi.ResourceHookBinding],
    ) -> MachinesArgs:
        """The machines that a stack asks for."""
        return cls(
            nodes=settings.machines,
            image_ids=image_ids,
            datastore=settings.proxmox.disk_datastore,
            bridge=settings.network.bridge,
            vlan=settings.network.vlan,
            cidr=settings.network.cidr,
            gateway=settings.network.gateway,
            nameservers=settings.nameservers,
            pool=settings.proxmox.pool,
            proxmox=settings.proxmoxve,
            stack_tag=settings.stack_tag,
            running=settings.running,
            hooks=hooks,
        )


class Machines(pulumi.ComponentResource):
    """One virtual machine for each node, all made in parallel."""

    vms: dict[str, proxmoxve.VmLegacy]
    """The virtual machines, by node name."""
    table: Mapping[str, Mapping[str, str | int]]
    """By node name: role, address, VM id and host, for the stack's outputs."""

    def __init__(
        self, name: str, args: MachinesArgs, opts: pulumi.ResourceOptions | None = None
    ) -> None:
        super().__init__("ephemeral-castle:index:Machines", name, None, opts)
        pool_id: pulumi.Input[str] | None = None
        if args.pool is not None:
            pool_id = proxmoxve.PoolLegacy(
                f"{name}-pool",
                pool_id=args.pool,
                comment=pool_comment(args.stack_tag),
                opts=pulumi.ResourceOptions(parent=self),
            ).pool_id
        self.vms = {}
        for node in args.nodes:
            self.vms[node.name] = self._machine(f"{name}-{node.name}", node, args, pool_id)
        self.table = {
            node.name: {
                "role": str(node.role),
                "address": str(node.address),
                "vm_id": node.vm_id,
                "host": node.host,
            }
            for node in args.nodes
        }
        ids = {name: machine.id for name, machine in self.vms.items()}
        self.register_outputs({"vms": ids, "table": self.table})

    def _machine(
        self, name: str, node: Node, args: MachinesArgs, pool_id: pulumi.Input[str] | None
    ) -> proxmoxve.VmLegacy:
        disks = [
            _disk(args.datastore, "scsi0", node.os_disk_gib)
            | {"import_from": args.image_ids[node.host]}
        ]
        if node.data_disk_gib is not None:
            disks.append(
                _disk(args.datastore, "scsi1", node.data_disk_gib)
                | self._kept(f"{name}-data", node, args)
            )
        network_device: dict[str, Any] = {
            "bridge": args.bridge,
            "model": "virtio",
            "mac_address": mac_address(args.stack_tag, node.vm_id),
        }
        if args.vlan is not None:
            network_device["vlan_id"] = args.vlan
        speeds = [f"disks[{index}].speed" for index in range(len(disks))]
        has_come_up = args.running.machine_has_come_up(node.name)
        return proxmoxve.VmLegacy(
            name,
            name=node.name,
            description=f"{node.short_name} of {args.stack_tag}",
            node_name=node.host,
            vm_id=node.vm_id,
            pool_id=pool_id,
            tags=sorted([args.stack_tag, str(node.role), "talos"]),
            machine="q35",
            operating_system={"type": "l26"},
            cpu={"cores": node.cores, "type": "x86-64-v2-AES"},
            memory={"dedicated": node.memory_mib},
            scsi_hardware="virtio-scsi-single",
            disks=disks,
            boot_orders=["scsi0"],
            # Left out, the provider adds the host's physical drive, on ide3 (facts/providers.md
            # A3.4); q35 has only ide0 and ide2 (bpg docs of `cdrom`).
            cdrom={"file_id": "none", "interface": "ide0"},
            initialization={
                "type": "nocloud",
                "datastore_id": args.datastore,
                "interface": "ide2",
                "ip_configs": [
                    {
                        "ipv4": {
                            "address": f"{node.address}/{args.cidr.prefixlen}",
                            "gateway": str(args.gateway),
                        }
                    }
                ],
                "dns": {"servers": [str(server) for server in args.nameservers]},
            },
            network_devices=[network_device],
            # Talos starts the agent only once it is configured: waiting for its address here
            # would wait for ourselves (bpg#2084, siderolabs/talos#11651).
            agent={"enabled": True, "timeout": "5m", "wait_for_ip": {"disabled": True}},
            # New cores and memory are written down only: by itself the provider would power-cycle
            # all machines at once (facts/end-to-end.md 6). lifecycle/node.py does it node by node.
            reboot_after_update=False,
            started=True,
            on_boot=True,
            # A dying castle is switched off, not asked (bpg docs/guides/vm-lifecycle.md).
            stop_on_destroy=True,
            # Another host in the settings moves the machine instead of making it anew.
            migrate=True,
            timeout_create=1800,
            timeout_migrate=1800,
            timeout_reboot=600,
            timeout_shutdown_vm=600,
            timeout_start_vm=600,
            timeout_stop_vm=300,
            opts=pulumi.ResourceOptions(
                parent=self,
                delete_before_replace=True,  # the new one has the same VM id
                hooks=args.hooks.get(node.name),
                # speed: a permanent diff of the provider (pulumi-proxmoxve#664), one path a disk.
                # importFrom: a new image must not touch a machine that runs.
                ignore_changes=["disks[0].importFrom", *speeds] if has_come_up else speeds,
                replace_on_changes=[] if has_come_up else _CORRECTED_BY_REPLACING,
                replace_with=self._first_control_plane(node, args),
            ),
        )

    def _first_control_plane(self, node: Node, args: MachinesArgs) -> list[proxmoxve.VmLegacy]:
        """The machine that a control plane of a cluster that has never come up is replaced with.

        etcd is bootstrapped again on the first one then: the others must not keep the etcd of
        before.
        """
        first = next(iter(self.vms), node.name)
        is_another = node.role is Role.CONTROL_PLANE and node.name != first
        if not is_another or args.running.has_come_up:
            return []
        return [self.vms[first]]

    def _kept(self, name: str, node: Node, args: MachinesArgs) -> dict[str, Any]:
        """Where a data disk is that outlives its machine; nothing for one that does not."""
        if not node.keep_data_disk_on_destroy:
            return {}
        disk = RetainedDisk(
            name,
            node=node,
            stack_tag=args.stack_tag,
            datastore=args.datastore,
            proxmox=args.proxmox,
            parent=self,
        )
        return {"path_in_datastore": disk.path}


_CORRECTED_BY_REPLACING = [
    "cpu",
    "disks",
    "initialization",
    "memory",
    "networkDevices",
    "nodeName",
    "poolId",
]
"""Inputs of a machine that cannot all be changed while it runs. A machine that has never come up
holds nothing, so it is created again with the right ones."""


def _disk(datastore: str, interface: str, size_gib: int) -> dict[str, Any]:
    return {
        "interface": interface,
        "datastore_id": datastore,
        "size": size_gib,
        "file_format": "raw",
        "iothread": True,
        "discard": "on",
        "ssd": True,
    }
