"""The VMs on Proxmox, with fixed ids and addresses, an OS disk and a data disk.

Talos, which runs in the VMs, is configured by ``components/talos/cluster.py``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from ipaddress import IPv4Address, IPv4Network
from typing import Any

import pulumi
import pulumi_proxmoxve as proxmoxve

from clients.proxmox.guests import mac_address, pool_comment
from lifecycle.retained_disk import RetainedDisk, RetainedDiskArgs
from settings.groups import Endpoint
from settings.models import Settings
from settings.node import DATA_DISK, OS_DISK, Node, Role
from settings.running import RunningStack

CPU_TYPE = "x86-64-v2-AES"
"""The CPU type of the VMs. Talos needs x86-64-v2, and all VMs of a type can move between hosts.
``doctor/checks/hosts.py`` has the flags that a host needs for this type."""


@dataclass(frozen=True, kw_only=True)
class VmFindings:
    """What the checks before the deployment found about the VMs, by node name."""

    hooks: Mapping[str, pulumi.ResourceHookBinding] = field(default_factory=dict)
    """Hooks that record the creation of the VM (``preflight/machines.py``)."""
    kept_inputs: Mapping[str, Sequence[str]] = field(default_factory=dict)
    """Inputs that stay as somebody set them in Proxmox (``preflight/hardware.py``)."""


@dataclass(frozen=True, kw_only=True)
class MachinesArgs:
    """Arguments of ``Machines``."""

    nodes: Sequence[Node]
    """The nodes, one VM each."""
    image_ids: Mapping[str, pulumi.Input[str]]
    """By host: volume id of the disk image from which OS disks are imported."""
    datastore: str
    """Storage with content type ``images`` on each host."""
    bridge: str
    """Proxmox bridge of the VMs' network device."""
    vlan: int | None
    """VLAN tag of the network device; ``None`` for untagged."""
    cidr: IPv4Network
    """Network of the nodes."""
    gateway: IPv4Address
    """Address of the router."""
    nameservers: Sequence[IPv4Address]
    """Addresses of the DNS servers."""
    pool: str | None
    """Name of the Proxmox resource pool to create for the VMs; ``None`` for no pool."""
    proxmox: Endpoint
    """Address and token of Proxmox, for retained disks."""
    stack_tag: str
    """Tag of the stack. Each VM gets it, so that the program recognizes its own VMs."""
    running: RunningStack
    """What the stack runs. A VM that never came up is replaced instead of changed."""
    findings: VmFindings
    """What the checks before the deployment found about the VMs."""

    @classmethod
    def of(
        cls,
        settings: Settings,
        image_ids: Mapping[str, pulumi.Input[str]],
        findings: VmFindings,
    ) -> MachinesArgs:
        """Create the arguments from the settings."""
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
            findings=findings,
        )


class Machines(pulumi.ComponentResource):
    """The resource pool, one VM for each node (created in parallel), and retained data disks."""

    vms: dict[str, proxmoxve.VmLegacy]
    """The VMs by node name."""
    table: Mapping[str, Mapping[str, str | int]]
    """By node name: role, address, VM id and host, for the output ``nodes`` of the stack."""

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
            self.vms[node.name] = self._create_vm(f"{name}-{node.name}", node, args, pool_id)
        self.table = {
            node.name: {
                "role": str(node.role),
                "address": str(node.address),
                "vm_id": node.vm_id,
                "host": node.host,
            }
            for node in args.nodes
        }
        ids = {name: vm.id for name, vm in self.vms.items()}
        self.register_outputs({"vms": ids, "table": self.table})

    def _create_vm(
        self, name: str, node: Node, args: MachinesArgs, pool_id: pulumi.Input[str] | None
    ) -> proxmoxve.VmLegacy:
        disks = [
            _disk(args.datastore, OS_DISK, node.os_disk_gib)
            | {"import_from": args.image_ids[node.host]}
        ]
        if node.data_disk_gib is not None:
            disks.append(
                _disk(args.datastore, DATA_DISK, node.data_disk_gib)
                | self._retained_disk(f"{name}-data", node, args)
            )
        network_device: dict[str, Any] = {
            "bridge": args.bridge,
            "model": "virtio",
            "mac_address": mac_address(args.stack_tag, node.vm_id),
        }
        if args.vlan is not None:
            network_device["vlan_id"] = args.vlan
        has_come_up = args.running.machine_has_come_up(node.name)
        ignored = [
            *_INPUTS_WITHOUT_SETTING,
            # The provider always shows a diff (pulumi-proxmoxve#664); disks[*] does not work.
            *(f"disks[{index}].speed" for index in range(len(disks))),
        ]
        if has_come_up:
            ignored += args.findings.kept_inputs.get(node.name, ())
            # A new image must not change a VM that has been installed.
            ignored.append("disks[0].importFrom")
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
            cpu={"cores": node.cores, "type": CPU_TYPE},
            memory={"dedicated": node.memory_mib},
            scsi_hardware="virtio-scsi-single",
            disks=disks,
            boot_orders=[OS_DISK],
            # Without this argument the provider adds the host's physical drive as ide3. The
            # interface must be ide0 or ide2 with q35 (bpg docs of `cdrom`).
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
            # No wait for the agent's address: Talos starts the agent only after it got its machine
            # config, which depends on this resource (bpg#2084, siderolabs/talos#11651).
            agent={"enabled": True, "timeout": "5m", "wait_for_ip": {"disabled": True}},
            # The provider would reboot all VMs at the same time after a change of cores or memory.
            # lifecycle/node.py reboots them one by one.
            reboot_after_update=False,
            started=True,
            on_boot=True,
            # On destroy, stop the VM: a shutdown would wait for the guest
            # (bpg docs/guides/vm-lifecycle.md).
            stop_on_destroy=True,
            # If the host changes in the settings, migrate the VM instead of replacing it.
            migrate=True,
            timeout_create=1800,
            timeout_migrate=1800,
            timeout_reboot=600,
            timeout_shutdown_vm=600,
            timeout_start_vm=600,
            timeout_stop_vm=300,
            opts=pulumi.ResourceOptions(
                parent=self,
                delete_before_replace=True,  # the new VM has the same id
                hooks=args.findings.hooks.get(node.name),
                ignore_changes=ignored,
                replace_on_changes=[] if has_come_up else _REPLACING_INPUTS,
                replace_with=self._replace_with(node, args),
            ),
        )

    def _replace_with(self, node: Node, args: MachinesArgs) -> list[proxmoxve.VmLegacy]:
        """Return the VMs with which the VM of ``node`` is replaced.

        In a cluster that never came up, each control plane is replaced together with the first one:
        a new first control plane bootstraps a new etcd, and the others still have the old etcd.
        """
        first = next(iter(self.vms), node.name)
        is_another = node.role is Role.CONTROL_PLANE and node.name != first
        if not is_another or args.running.has_come_up:
            return []
        return [self.vms[first]]

    def _retained_disk(self, name: str, node: Node, args: MachinesArgs) -> dict[str, Any]:
        """Create the node's retained data disk, and return its path as an input of the VM's disk.

        Returns an empty mapping if the data disk is deleted with the VM.
        """
        if not node.keep_data_disk_on_destroy:
            return {}
        disk_args = RetainedDiskArgs(
            node=node,
            stack_tag=args.stack_tag,
            datastore=args.datastore,
            proxmox=args.proxmox,
        )
        opts = pulumi.ResourceOptions(parent=self, retain_on_delete=True)
        disk = RetainedDisk(name, disk_args, opts)
        return {"path_in_datastore": disk.path}


_REPLACING_INPUTS = [
    "cpu",
    "disks",
    "initialization",
    "memory",
    "networkDevices",
    "nodeName",
    "poolId",
]
"""Inputs whose change replaces a VM that never came up. Not all of them can change in place, and
such a VM contains no data."""

_INPUTS_WITHOUT_SETTING = [
    "audioDevice",
    "cpu.affinity",
    "cpu.limit",
    "cpu.units",
    "description",
    "hookScriptFileId",
    "hostpcis",
    "hotplug",
    "keyboardLayout",
    "kvmArguments",
    "numas",
    "protection",
    "rngs",
    "serialDevices",
    "smbios",
    "startup",
    "tabletDevice",
    "usbs",
    "vga",
    "virtiofs",
    "watchdog",
]
"""Inputs that no setting changes. After a refresh or another change of the VM, ``up`` would reset
what somebody set in Proxmox. For passed-through devices and the CPU affinity it would even fail,
because only root@pam may change them (proxmox/qemu-server, PVE/API2/Qemu.pm)."""


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
