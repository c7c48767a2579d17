"""Requests that create, change, start, stop and delete a VM."""

from __future__ import annotations

import asyncio
import ipaddress
import re
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence

from . import errors, vms
from .access import Access
from .call import Call, Route
from .errors import ProxmoxError, TaskError
from .guests import GuestError, Guests, guest_of
from .model import Cluster, Vm
from .tasks import Tasks


class VmRoutes:
    """The VMs of the nodes."""

    def __init__(self, cluster: Cluster, tasks: Tasks, guests: Guests, access: Access) -> None:
        self._cluster = cluster
        self._access = access
        self._tasks = tasks
        self._guests = guests

    def __iter__(self) -> Iterator[Route]:
        vm = "/nodes/{node}/qemu/{vmid}"
        yield "GET", "/nodes/{node}/qemu", self.list_vms
        yield "GET", "/nodes/{node}/lxc", self.list_containers
        yield "POST", "/nodes/{node}/qemu", self.create
        yield "GET", f"{vm}/config", self.config
        yield "PUT", f"{vm}/config", self.configure
        yield "GET", f"{vm}/pending", self.pending
        yield "GET", f"{vm}/cloudinit", self.cloudinit
        yield "PUT", f"{vm}/cloudinit", self.regenerate_cloudinit
        yield "PUT", f"{vm}/resize", self.resize
        yield "GET", f"{vm}/status/current", self.status
        yield "POST", f"{vm}/status/start", self.start
        yield "POST", f"{vm}/status/stop", self.stop
        yield "POST", f"{vm}/status/shutdown", self.shut_down
        yield "POST", f"{vm}/status/reboot", self.reboot
        yield "POST", f"{vm}/migrate", self.migrate
        yield "POST", f"{vm}/agent/ping", self.agent_ping
        yield "GET", f"{vm}/agent/network-get-interfaces", self.agent_interfaces
        yield "DELETE", vm, self.delete
        yield "DELETE", f"{vm}/", self.delete  # so the provider writes it (B6)

    async def list_vms(self, call: Call) -> object:
        """List the VMs of a node."""
        return self._list(call, "qemu")

    async def list_containers(self, call: Call) -> object:
        """List the containers of a node."""
        return self._list(call, "lxc")

    async def create(self, call: Call) -> object:
        """Make a VM; its disks are made and imported in the task."""
        node = self._cluster.node(call.path["node"])
        vmid = call.integer("vmid")
        self._cluster.require_free(vmid)
        vms.check(node, call.parameters)
        pool = call.parameters.get("pool")
        if pool is not None and pool not in self._cluster.pools:
            raise errors.forbidden_pool(pool)
        run = self._tasks.run
        if self._tasks.import_s:
            # Its id is taken at once; name, tags and pool come with the disks.
            self._cluster.vms[vmid] = Vm(vmid=vmid, node=node, config={}, lock="create")
            run = self._tasks.begin
        return run(
            node.name,
            "qmcreate",
            vmid,
            call.user,
            lambda: vms.create(self._cluster, node, call.parameters),
        )

    async def config(self, call: Call) -> object:
        """Show the configuration."""
        return self._vm(call).api_config()

    async def pending(self, call: Call) -> object:
        """Show the configuration beside what the running VM was started with."""
        vm = self._vm(call)
        entries = []
        for key, value in vm.config.items():
            running = vm.started_with.get(key, value) if vm.running else value
            entry = {"key": key, "value": running}
            entries.append(entry if running == value else entry | {"pending": value})
        return entries

    async def configure(self, call: Call) -> object:
        """Change the configuration. A lock is set as a backup does, and removed as an administrator
        does (``qm unlock``)."""
        vm = self._vm(call) if call.parameters.get("skiplock") == "1" else self._unlocked(call)
        vms.check(vm.node, call.parameters)
        vms.configure(vm, call.parameters)
        vm.lock = call.parameters.get("lock", "")
        self._guests.replug(guest_of(vm))
        return None

    async def regenerate_cloudinit(self, call: Call) -> object:
        """Write the cloud-init drive anew; ours is read when the guest boots."""
        self._unlocked(call)
        return None

    async def resize(self, call: Call) -> object:
        """Grow a disk."""
        vm = self._vm(call)
        key, size = call.require("disk"), call.require("size")
        upid = self._tasks.run(
            vm.node.name, "resize", vm.vmid, call.user, lambda: vms.resize(vm, key, size)
        )
        self._guests.replug(guest_of(vm))
        return upid

    async def status(self, call: Call) -> object:
        """Tell whether the VM runs."""
        vm = self._vm(call)
        summary = vm.summary()
        return summary | {
            "qmpstatus": summary["status"],
            "cpus": int(vm.config.get("cores", "1")),
            "agent": int(vm.agent_enabled),
        }

    async def start(self, call: Call) -> object:
        """Give the VM power, and let its guest boot."""
        vm = self._vm(call)
        if vm.running:
            # Even this is not noticed if somebody else works on the VM.
            exitstatus = "OK" if vm.lock else f"VM {vm.vmid} already running"
            return self._record(call, vm, "qmstart", exitstatus)
        return await self._in_task(call, vm, "qmstart", self._power_on)

    async def stop(self, call: Call) -> object:
        """Cut the power."""
        return await self._in_task(call, self._vm(call), "qmstop", self._power_off)

    async def shut_down(self, call: Call) -> object:
        """Ask the guest to shut down; with ``forceStop`` one that does not loses its power."""
        is_forced = call.parameters.get("forceStop") == "1"

        async def work(vm: Vm) -> None:
            if not is_forced:
                self._require_hearing(vm)
            await self._power_off(vm)

        return await self._in_task(call, self._vm(call), "qmshutdown", work)

    async def reboot(self, call: Call) -> object:
        """Ask the guest to shut down, then start the VM with its present configuration."""
        vm = self._vm(call)
        if not vm.running:
            raise ProxmoxError(f"VM {vm.vmid} not running")

        async def work(vm: Vm) -> None:
            self._require_hearing(vm)
            await self._power_off(vm)
            await asyncio.sleep(self._guests.reboot_s)
            await self._power_on(vm)

        return await self._in_task(call, vm, "qmreboot", work)

    async def migrate(self, call: Call) -> object:
        """Move the VM, with its disks, to another host."""
        vm, target = self._vm(call), call.require("target")
        if target == vm.node.name:
            raise errors.invalid_parameter("target", "target is local node.")
        if target not in self._cluster.nodes:
            raise ProxmoxError(f"no such cluster node '{target}'")
        return self._tasks.run(
            vm.node.name,
            "qmigrate",
            vm.vmid,
            call.user,
            lambda: vms.migrate(vm, self._cluster.node(target)),
        )

    async def cloudinit(self, call: Call) -> object:
        """Show the settings of the cloud-init drive, none of which is pending."""
        config = self._vm(call).config
        keys = re.compile(r"ipconfig\d+|nameserver|searchdomain|citype|ciuser|sshkeys")
        return [
            {"key": key, "value": value} for key, value in config.items() if keys.fullmatch(key)
        ]

    async def agent_ping(self, call: Call) -> object:
        """Tell whether the guest agent answers."""
        self._agent_addresses(call)
        return {"result": {}}

    async def agent_interfaces(self, call: Call) -> object:
        """Pass on what the guest agent knows about the network."""
        vm, addresses = self._agent_addresses(call)
        mac = vm.config.get("net0", "").partition(",")[0].partition("=")[2]
        return {
            "result": [
                _interface("lo", "00:00:00:00:00:00", ["127.0.0.1"]),
                _interface("eth0", mac.lower(), addresses),
            ]
        }

    async def delete(self, call: Call) -> object:
        """Destroy the VM and its disks."""
        vm = self._unlocked(call)
        if vm.running:
            raise errors.vm_running(vm.vmid)
        if vm.config.get("protection") == "1":
            raise ProxmoxError(f"can't remove VM {vm.vmid} - protection mode enabled")
        await self._guests.discard(vm.vmid)
        unreferenced = call.parameters.get("destroy-unreferenced-disks") == "1"
        return self._tasks.run(
            vm.node.name,
            "qmdestroy",
            vm.vmid,
            call.user,
            lambda: vms.destroy(self._cluster, vm, unreferenced=unreferenced),
        )

    def _list(self, call: Call, kind: str) -> list[dict[str, object]]:
        node = self._cluster.node(call.path["node"])
        return [
            vm.summary() for vm in self._cluster.vms.values() if vm.node is node and vm.kind == kind
        ]

    def _vm(self, call: Call) -> Vm:
        vmid = call.path["vmid"]
        if not vmid.isdigit():
            raise errors.invalid_parameter("vmid", "type check ('integer') failed")
        return self._cluster.vm(call.path["node"], int(vmid))

    def _unlocked(self, call: Call) -> Vm:
        vm = self._vm(call)
        vm.require_unlocked()
        return vm

    async def start_on_boot(self) -> None:
        """Start the VMs with ``onboot``, as a host does when it has booted; no locked VM starts
        (pve-manager PVE/API2/Nodes.pm ``startall``)."""
        for vm in list(self._cluster.vms.values()):
            if vm.config.get("onboot") == "1" and not vm.running:
                call = Call(user="root@pam", path={}, parameters={})
                await self._in_task(call, vm, "qmstart", self._power_on)

    def _agent_addresses(self, call: Call) -> tuple[Vm, Sequence[str]]:
        vm = self._vm(call)
        is_old = vm.node.version.startswith("8.")
        needed = (
            ("VM.Monitor",) if is_old else ("VM.GuestAgent.Audit", "VM.GuestAgent.Unrestricted")
        )
        self._access.require(f"/vms/{vm.vmid}", *needed)
        addresses = self._guests.agent_addresses(vm.vmid) if vm.agent_enabled else None
        if addresses is None:
            raise errors.agent_not_running()
        return vm, addresses

    async def _in_task(
        self, call: Call, vm: Vm, kind: str, work: Callable[[Vm], Awaitable[None]]
    ) -> str:
        """Do some work on a VM at once; whatever is wrong with it fails the task."""
        try:
            vm.require_unlocked()
            await work(vm)
        except TaskError as error:
            return self._record(call, vm, kind, str(error), error.log)
        return self._record(call, vm, kind)

    def _record(
        self, call: Call, vm: Vm, kind: str, exitstatus: str = "OK", output: str = ""
    ) -> str:
        return self._tasks.record(vm.node.name, kind, vm.vmid, call.user, exitstatus, output)

    async def _power_on(self, vm: Vm) -> None:
        vms.require_bootable(vm)
        try:
            await self._guests.power_on(guest_of(vm))
        except GuestError as error:
            raise TaskError(f"start failed: {error}") from None
        vm.started_at = time.monotonic()
        vm.started_with = dict(vm.config)

    async def _power_off(self, vm: Vm) -> None:
        await self._guests.power_off(vm.vmid)
        vm.lose_power()

    def _require_hearing(self, vm: Vm) -> None:
        if vm.running and self._guests.is_deaf(vm.vmid):
            raise TaskError("VM quit/powerdown failed - got timeout")


def _interface(name: str, mac: str, addresses: Sequence[str]) -> dict[str, object]:
    return {
        "name": name,
        "hardware-address": mac,
        "ip-addresses": [
            {
                "ip-address": address,
                "ip-address-type": f"ipv{ipaddress.ip_address(address).version}",
                "prefix": 24,
            }
            for address in addresses
        ],
    }
